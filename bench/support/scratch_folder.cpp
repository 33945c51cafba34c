#include "support/scratch_folder.hpp"

#include <stdlib.h>

#include <cerrno>
#include <system_error>

namespace vmrpc::bench {

ScratchFolder::ScratchFolder(const std::filesystem::path& below) {
    std::string name = below / "vmrpc-bench-XXXXXX";
    if (::mkdtemp(name.data()) == nullptr)
        throw std::system_error(errno, std::generic_category(), "cannot make a folder " + name);
    path_ = name;
}

ScratchFolder::~ScratchFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
}

std::filesystem::path ScratchFolder::fresh() {
    return path_ / std::to_string(++given_);
}

}  // namespace vmrpc::bench
