#pragma once

#include <stdlib.h>

#include <filesystem>
#include <string>

namespace vmrpc::transport::conformance {

/// Addresses of local: in a folder that is removed. It lies in $TMPDIR, so that whoever runs the tests can remove what
/// a test leaves that is ended by a signal.
class LocalHarness {
  public:
    LocalHarness() : folder_(std::filesystem::temp_directory_path() / "vmrpc-test-XXXXXX") {
        if (::mkdtemp(folder_.data()) == nullptr) folder_.clear();
    }
    LocalHarness(const LocalHarness&) = delete;
    LocalHarness& operator=(const LocalHarness&) = delete;
    ~LocalHarness() {
        std::error_code ignored;
        std::filesystem::remove_all(folder_, ignored);
    }

    [[nodiscard]] const std::string& folder() const { return folder_; }
    [[nodiscard]] std::string path(int server = 0) const { return folder_ + "/" + std::to_string(server) + ".sock"; }
    [[nodiscard]] std::string address(int server = 0) const { return "local:" + path(server); }

  private:
    std::string folder_;
};

}  // namespace vmrpc::transport::conformance
