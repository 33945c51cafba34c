#include "shared_libraries.hpp"

#include <elf.h>

#include <cstdio>
#include <cstring>
#include <fstream>
#include <memory>
#include <sstream>
#include <stdexcept>

namespace vmrpc::vm {
namespace {

bool is_linked_elf(const std::filesystem::path& path) {
    Elf64_Ehdr header{};
    std::ifstream in{path, std::ios::binary};
    if (!in.read(reinterpret_cast<char*>(&header), sizeof header)) return false;
    return std::memcmp(header.e_ident, ELFMAG, SELFMAG) == 0 && (header.e_type == ET_EXEC || header.e_type == ET_DYN);
}

std::string quoted(const std::string& text) {
    std::string result = "'";
    for (const char c : text) c == '\'' ? result.append("'\\''") : result.append(1, c);
    return result + "'";
}

std::string output_of(const std::string& command) {
    const std::unique_ptr<FILE, int (*)(FILE*)> pipe{popen(command.c_str(), "re"), pclose};
    if (!pipe) throw std::runtime_error("cannot run: " + command);
    std::string text;
    for (int c = std::fgetc(pipe.get()); c != EOF; c = std::fgetc(pipe.get())) text.push_back(static_cast<char>(c));
    return text;
}

}  // namespace

// A line is "name => /path (0x...)", "/loader (0x...)", "name => not found", or one of the kernel's own (vdso).
std::vector<SharedLibrary> libraries_of(const std::filesystem::path& program) {
    if (!is_linked_elf(program)) return {};
    std::vector<SharedLibrary> result;
    std::istringstream lines{output_of("ldd " + quoted(std::filesystem::absolute(program).string()) + " 2>/dev/null")};
    for (std::string line; std::getline(lines, line);) {
        std::istringstream words{line};
        std::string name;
        std::string arrow;
        std::string path;
        words >> name >> arrow >> path;
        if (arrow != "=>") {
            if (name.starts_with('/')) result.push_back({name, name});
        } else if (path.starts_with('/')) {
            result.push_back({path, name.starts_with('/') ? name : "/lib/" + name});
        } else {
            throw std::runtime_error(program.string() + " needs " + name + ", which is not found here");
        }
    }
    return result;
}

}  // namespace vmrpc::vm
