// A folder for sockets, gone with the object.
#pragma once

#include <filesystem>
#include <string>

namespace vmrpc::bench {

class ScratchFolder {
  public:
    /// Makes a folder, below that for temporary files unless it is told another one. Throws std::system_error.
    explicit ScratchFolder(const std::filesystem::path& below = std::filesystem::temp_directory_path());
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
