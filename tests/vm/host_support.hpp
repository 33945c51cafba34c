// What tests with a server on this host and clients in guests share.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>

namespace vmrpc::vm {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;
using std::chrono::seconds;

/// Where the server listens.
class Folder {
  public:
    Folder() : path_("/tmp/vmrpc-test-XXXXXX") { EXPECT_NE(::mkdtemp(path_.data()), nullptr); }
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;
    ~Folder() { std::filesystem::remove_all(path_); }
    const std::string& path() const { return path_; }
    std::string socket() const { return path_ + "/iv.sock"; }
    std::string address(const std::string& scheme = "ivshmem:") const { return scheme + socket(); }

  private:
    std::string path_;
};

inline bool soon(const std::function<bool()>& done, milliseconds limit = seconds(20)) {
    const auto end = Clock::now() + limit;
    while (!done()) {
        if (Clock::now() > end) return false;
        std::this_thread::sleep_for(milliseconds(2));
    }
    return true;
}

inline double ms_since(Clock::time_point start) {
    return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

}  // namespace vmrpc::vm
