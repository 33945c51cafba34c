// A folder for sockets, gone with the object.
#pragma once

#include <filesystem>
#include <string>

namespace vmrpc::bench {

class ScratchFolder {
  public:
    /// Makes a folder below that for temporary files. Throws std::system_error.
    ScratchFolder();
    ScratchFolder(const ScratchFolder&) = delete;
    ScratchFolder& operator=(const ScratchFolder&) = delete;
    ~ScratchFolder();

    /// A name in it that was not given before.
    std::filesystem::path fresh();

  private:
    std::filesystem::path path_;
    int given_ = 0;
};

}  // namespace vmrpc::bench
