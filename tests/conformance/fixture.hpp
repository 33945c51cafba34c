// Where the conformance suite finds its server: at $VMRPC_TEST_ADDRESS, or, without it, in a thread of this process.
#pragma once

#include "conformance/functions.hpp"
#include "conformance/server.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>
#include <thread>
#include <utility>

namespace conformance {

/// A folder of its own that goes with the object.
class TemporaryFolder {
  public:
    TemporaryFolder() {
        std::string pattern = (std::filesystem::temp_directory_path() / "vmrpc-test-XXXXXX").string();
        if (::mkdtemp(pattern.data()) == nullptr) std::abort();
        path_ = pattern;
    }
    TemporaryFolder(const TemporaryFolder&) = delete;
    TemporaryFolder& operator=(const TemporaryFolder&) = delete;
    ~TemporaryFolder() { std::filesystem::remove_all(path_); }
    [[nodiscard]] const std::filesystem::path& path() const { return path_; }

  private:
    std::filesystem::path path_;
};

/// A conformance server in a thread of this process.
class ServerThread {
  public:
    explicit ServerThread(vmrpc::ServeOptions options = {})
        : server_(make_server(address(), std::move(options))), thread_([this] { static_cast<void>(server_.run()); }) {}
    ~ServerThread() {
        server_.stop();
        thread_.join();
    }
    ServerThread(const ServerThread&) = delete;
    ServerThread& operator=(const ServerThread&) = delete;
    [[nodiscard]] std::string address() const { return "local:" + (folder_.path() / "server.sock").string(); }

  private:
    TemporaryFolder folder_;
    vmrpc::Server server_;
    std::thread thread_;
};

/// One server for all tests of the program.
inline std::string server_address() {
    const char* given = std::getenv("VMRPC_TEST_ADDRESS");
    if (given != nullptr) return given;
    static ServerThread server({.borrow_stack = true});
    return server.address();
}

class Calls : public testing::Test {
  protected:
    [[nodiscard]] static vmrpc::Client connect(vmrpc::ConnectOptions options = {}) {
        // Where connecting means to clear much memory, by emulated instructions.
        const char* const patience = std::getenv("VMRPC_TEST_CONNECT_SECONDS");
        if (patience != nullptr) options.timeout = std::chrono::seconds(std::atoi(patience));
        auto client = vmrpc::Client::connect(server_address(), options);
        if (!client) {
            ADD_FAILURE() << client.error().message();
            std::exit(1);  // every further line would only say the same
        }
        return *std::move(client);
    }
    /// Looks for something that comes about soon; only a broken program takes as long as the limit.
    template <class Condition>
    [[nodiscard]] static bool soon(Condition&& condition) {
        const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(10);
        while (!condition()) {
            if (std::chrono::steady_clock::now() > limit) return false;
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
        return true;
    }
};

}  // namespace conformance
