#include "files.hpp"

#include "digest.hpp"
#include "echo.hpp"
#include "failure.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <optional>
#include <utility>

namespace demo {
namespace {

/// A file's content in the RPC heap, at the beginning of a block.
struct Content {
    vmrpc::Array<std::byte> block;
    std::size_t bytes = 0;
    std::string path;

    [[nodiscard]] vmrpc::InPlace<std::span<const std::byte>> view() const { return {block.data(), bytes}; }
};

/// A larger block with the same beginning.
void grow(const vmrpc::Heap& heap, Content& content) {
    auto larger =
        must(heap.make_array<std::byte>(content.block.size() * 2), fmt::format("no room for {}", content.path));
    std::copy_n(content.block.begin(), content.bytes, larger.begin());
    content.block = std::move(larger);
}

/// Reads to the end, which is not where the size says for a file of /proc, or one that grows. errno, or 0.
int read_all(const vmrpc::Heap& heap, int descriptor, Content& content) {
    while (true) {
        if (content.bytes == content.block.size()) grow(heap, content);
        const ssize_t got =
            ::read(descriptor, content.block.data() + content.bytes, content.block.size() - content.bytes);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return got == 0 ? 0 : errno;
        content.bytes += static_cast<std::size_t>(got);
    }
}

/// Nothing if the file cannot be read.
std::optional<Content> read_file(const vmrpc::Heap& heap, const FileToRead& file) {
    constexpr std::size_t least_bytes = 4096;  // for files that do not know their size
    const Descriptor descriptor(::open(file.path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    struct stat facts {};
    int error = descriptor.get() < 0 || ::fstat(descriptor.get(), &facts) != 0 ? errno : 0;
    if (error == 0) {
        // One byte more than the file has, so that its end is seen without another block.
        const auto room = facts.st_size == 0 ? least_bytes : static_cast<std::size_t>(facts.st_size) + 1;
        Content content{must(heap.make_array<std::byte>(room), fmt::format("no room for {}", file.path)), 0, file.path};
        error = read_all(heap, descriptor.get(), content);
        if (error == 0) return content;
    }
    if (file.named) throw system_failure(fmt::format("cannot read {}", file.path), error);
    return std::nullopt;
}

std::vector<Content> read_files(const vmrpc::Client& client, const std::vector<FileToRead>& files, Progress& progress) {
    progress.step(fmt::format("reading {} files into the RPC heap", files.size()));
    const vmrpc::Heap heap = client.heap();
    std::vector<Content> contents;
    for (const FileToRead& file : files) {
        if (contents.size() % 100 == 99)
            progress.detail(fmt::format("reading: {} of {}", contents.size() + 1, files.size()));
        if (auto content = read_file(heap, file)) contents.push_back(*std::move(content));
    }
    return contents;
}

}  // namespace

FilesReport summarize_files(const vmrpc::Client& client, const std::vector<FileToRead>& files, Progress& progress) {
    const std::vector<Content> contents = read_files(client, files, progress);
    progress.step("computing SHA-256 and lines here, to check the server");
    std::vector<Summary> own;
    own.reserve(contents.size());
    for (const Content& content : contents) own.push_back(digest(content.view()));

    progress.step("calling the server for the same");
    std::vector<Summary> served;
    served.reserve(contents.size());
    const std::uint64_t copies_before = client.stats().implicit_copies;
    const auto start = std::chrono::steady_clock::now();
    for (const Content& content : contents)
        served.push_back(must(client.call<summarize>(content.view()), fmt::format("summarizing {}", content.path)));
    FilesReport report;
    report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    report.implicit_copies = client.stats().implicit_copies - copies_before;

    report.files = contents.size();
    report.skipped = files.size() - contents.size();
    for (std::size_t i = 0; i < contents.size(); ++i) {
        report.bytes += contents[i].bytes;
        report.lines += served[i].lines;
        if (served[i] != own[i]) report.different.push_back(contents[i].path);
    }
    return report;
}

}  // namespace demo
