// A server of cpp_api_functions.hpp on a thread of the test.
#pragma once

#include "capi_temp_folder.hpp"
#include "cpp_api_functions.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace cpp_api {

class Server {
  public:
    explicit Server(vmrpc::ServeOptions options = {});
    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;
    ~Server() { stop(); }

    void stop() {
        if (!thread_.joinable()) return;
        release();
        server_.stop();
        thread_.join();
    }
    /// Lets wait_for_release() and squares_after_release() return, now and from now on.
    void release() {
        is_released_.store(true);
        is_released_.notify_all();
    }
    /// Calls of wait_for_release() and squares_after_release() that began.
    [[nodiscard]] int waiting() const { return waiting_.load(); }

    [[nodiscard]] vmrpc::Client connect(const vmrpc::ConnectOptions& options = {}) const {
        auto client = vmrpc::Client::connect(folder_.address(), options);
        EXPECT_TRUE(client) << client.error().message();
        return std::move(client).value();
    }
    [[nodiscard]] std::string address() const { return folder_.address(); }

  private:
    void add_values();
    void add_spans();
    void add_heap();
    void add_others();
    void wait();

    vmrpc::test::TempFolder folder_;
    std::atomic<bool> is_released_{false};
    std::atomic<int> waiting_{0};
    vmrpc::Server server_;
    std::thread thread_;
};

}  // namespace cpp_api
