// A fuzzing target as an ordinary test: runs it on every file of a corpus, in the order of their names.
#include "fuzz/input.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

// NOLINTNEXTLINE(readability-identifier-naming): libFuzzer's name
extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv);

namespace {

void run_on(const std::filesystem::path& file) {
    std::ifstream stream(file, std::ios::binary);
    if (!stream) throw std::runtime_error(fmt::format("{}: cannot be read", file.string()));
    const std::vector<char> bytes(std::istreambuf_iterator<char>(stream), {});
    fmt::print("{}: {} bytes\n", file.filename().string(), bytes.size());
    std::fflush(stdout);  // the last line names the file that ends the program
    LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
}

}  // namespace

int main(int argc, char** argv) {
    try {
        LLVMFuzzerInitialize(&argc, &argv);
        if (argc != 2) throw std::runtime_error("usage: fuzz-TARGET FOLDER");
        std::vector<std::filesystem::path> files;
        for (const auto& entry : std::filesystem::directory_iterator(argv[1])) files.push_back(entry.path());
        std::sort(files.begin(), files.end());
        if (files.empty()) throw std::runtime_error(fmt::format("{} is empty: a corpus is missing", argv[1]));
        for (const auto& file : files) run_on(file);
        return 0;
    } catch (const std::exception& error) {
        fmt::print(stderr, "{}\n", error.what());
        return 1;
    }
}
