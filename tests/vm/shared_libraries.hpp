// Which libraries a program needs to run where there is nothing else.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace vmrpc::vm {

struct SharedLibrary {
    std::filesystem::path host_path;
    std::string guest_path;  // the dynamic loader at its own path, a library in /lib, where the loader looks last
};

// Empty for a static program and for anything that is no program. Asks ldd, so only for files that may be run here.
// Throws std::runtime_error if a library is missing.
std::vector<SharedLibrary> libraries_of(const std::filesystem::path& program);

}  // namespace vmrpc::vm
