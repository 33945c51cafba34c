// A folder for socket files, removed with what is in it.
#pragma once

#include <stdlib.h>

#include <filesystem>
#include <stdexcept>
#include <string>
#include <system_error>

namespace vmrpc::test {

class TempFolder {
  public:
    TempFolder() : path_("/tmp/vmrpc-test-XXXXXX") {
        if (::mkdtemp(path_.data()) == nullptr) throw std::runtime_error("cannot make " + path_);
    }
    TempFolder(const TempFolder&) = delete;
    TempFolder& operator=(const TempFolder&) = delete;
    ~TempFolder() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    [[nodiscard]] std::string address() const { return "local:" + path_ + "/server.sock"; }

  private:
    std::string path_;
};

}  // namespace vmrpc::test
