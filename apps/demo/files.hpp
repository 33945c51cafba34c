// Real files, read straight into the RPC heap and summarized there by the server.
#pragma once

#include "progress.hpp"
#include "report.hpp"

#include <vmrpc/vmrpc.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace demo {

struct FileToRead {
    std::string path;
    bool named = false;  // by the user: it must be readable
};

/// The files among `paths`, and every regular file below the folders among them, those up to `limit_bytes` in all.
/// Throws Failure if one is missing, or is neither.
std::vector<FileToRead> select_files(const std::vector<std::string>& paths, std::uint64_t limit_bytes);

/// Throws Failure.
FilesReport summarize_files(const vmrpc::Client& client, const std::vector<FileToRead>& files, Progress& progress);

}  // namespace demo
