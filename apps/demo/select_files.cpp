#include "failure.hpp"
#include "files.hpp"

#include <filesystem>
#include <system_error>

namespace demo {
namespace {

namespace fs = std::filesystem;

/// So little is left of the limit that looking for a file that fits is not worth it.
constexpr std::uint64_t kNearlyNothing = 64'000;

void select_below(const fs::path& folder, std::uint64_t& left_bytes, std::vector<FileToRead>& files) {
    std::error_code error;
    fs::recursive_directory_iterator entry(folder, fs::directory_options::skip_permission_denied, error);
    for (; !error && entry != fs::recursive_directory_iterator(); entry.increment(error)) {
        if (left_bytes < kNearlyNothing) return;
        std::error_code gone;
        if (entry->is_symlink(gone) || !entry->is_regular_file(gone)) continue;
        const std::uint64_t bytes = entry->file_size(gone);
        if (gone || bytes > left_bytes) continue;
        left_bytes -= bytes;
        files.push_back({entry->path().string(), false});
    }
    if (error) throw Failure(fmt::format("cannot list the files below {}: {}", folder.string(), error.message()));
}

}  // namespace

std::vector<FileToRead> select_files(const std::vector<std::string>& paths, std::uint64_t limit_bytes) {
    std::vector<FileToRead> files;
    for (const std::string& path : paths) {
        std::error_code error;
        const fs::file_status status = fs::status(path, error);
        if (status.type() == fs::file_type::not_found)
            throw Failure(fmt::format("there is no file {}: name one that exists, or none at all", path));
        if (error) throw Failure(fmt::format("cannot look at {}: {}", path, error.message()));
        if (fs::is_directory(status))
            select_below(path, limit_bytes, files);
        else if (fs::is_regular_file(status))
            files.push_back({path, true});
        else
            throw Failure(fmt::format("{} is neither a regular file nor a folder: name one of these", path));
    }
    if (files.empty()) throw Failure(fmt::format("there are no files below {}: name others", paths.front()));
    return files;
}

}  // namespace demo
