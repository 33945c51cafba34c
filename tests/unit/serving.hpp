// Servers in a thread of the test, whose functions the test holds and lets go.
#pragma once

#include "unit/capi_temp_folder.hpp"

#include <vmrpc/vmrpc.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace serving {

/// Comes about soon; only a broken program takes as long as the limit.
template <class Condition>
bool soon(Condition&& condition) {
    for (int i = 0; i < 30'000; ++i) {
        if (condition()) return true;
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return false;
}

/// Holds those who come in until it is opened.
class Gate {
  public:
    void pass() {
        ++inside_;
        is_open_.wait(false);
        --inside_;
    }
    void open() {
        is_open_.store(true);
        is_open_.notify_all();
    }
    [[nodiscard]] bool is_open() const { return is_open_; }
    /// Waits until so many are held.
    [[nodiscard]] bool holds(int count) const {
        return soon([&] { return inside_ == count; });
    }
    [[nodiscard]] int inside() const { return inside_; }

  private:
    std::atomic<bool> is_open_{false};
    std::atomic<int> inside_{0};
};

/// What functions note, in the order in which they ran.
class Log {
  public:
    void note(std::uint64_t what) {
        const std::scoped_lock lock(mutex_);
        noted_.push_back(what);
    }
    [[nodiscard]] std::vector<std::uint64_t> all() const {
        const std::scoped_lock lock(mutex_);
        return noted_;
    }

  private:
    mutable std::mutex mutex_;
    std::vector<std::uint64_t> noted_;
};

inline constexpr auto kHold = vmrpc::named<"test.hold", void()>;           // pooled; until the gate is opened
inline constexpr auto kHoldHere = vmrpc::named<"test.hold_here", void()>;  // inline
inline constexpr auto kNote = vmrpc::named<"test.note", std::uint64_t(std::uint64_t)>;  // pooled; returns its argument
inline constexpr auto kHere = vmrpc::named<"test.here", std::uint64_t(std::uint64_t)>;  // inline; likewise

/// With kHold, kNote, kHoldHere and kHere, and what a test adds before it is started.
class Server {
  public:
    explicit Server(vmrpc::ServeOptions options = {.workers = 2}) : server(folder_.address(), std::move(options)) {
        EXPECT_TRUE(server.add<kHold>([this] { gate.pass(); }, {.pooled = true}));
        EXPECT_TRUE(server.add<kNote>(
            [this](std::uint64_t what) {
                log.note(what);
                return what;
            },
            {.pooled = true}));
        EXPECT_TRUE(server.add<kHoldHere>([this] { gate.pass(); }));
        EXPECT_TRUE(server.add<kHere>([](std::uint64_t what) { return what; }));
    }
    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;
    ~Server() {
        gate.open();
        join(true);
    }
    void start() {
        has_returned = false;
        thread_ = std::thread([this] {
            const auto ran = server.run();
            EXPECT_TRUE(ran) << ran.error().message();
            has_returned = true;
        });
    }
    /// Waits for run() to return.
    void join(bool stops = false) {
        if (!thread_.joinable()) return;
        if (stops && !has_returned) server.stop();
        thread_.join();
    }
    [[nodiscard]] std::string address() const { return folder_.address(); }
    [[nodiscard]] vmrpc::Client connect(const vmrpc::ConnectOptions& options = {}) const {
        auto client = vmrpc::Client::connect(address(), options);
        EXPECT_TRUE(client) << client.error().message();
        return std::move(client).value();
    }

    Gate gate;
    Log log;
    std::atomic<bool> has_returned{false};

  private:
    vmrpc::test::TempFolder folder_;

  public:
    vmrpc::Server server;

  private:
    std::thread thread_;
};

/// A call on a thread of its own.
class Caller {
  public:
    template <class Call>
    explicit Caller(Call call)
        : thread_([this, call] {
              status_ = call();
              is_waiting_ = false;
          }) {}
    Caller(const Caller&) = delete;
    Caller& operator=(const Caller&) = delete;
    ~Caller() {
        if (thread_.joinable()) thread_.join();
    }
    /// What the call ended with.
    vmrpc_status ended() {
        thread_.join();
        return status_;
    }
    [[nodiscard]] bool is_waiting() const { return is_waiting_; }

  private:
    vmrpc_status status_ = VMRPC_OK;
    std::atomic<bool> is_waiting_{true};
    std::thread thread_;
};

template <class R>
vmrpc_status status_of(const vmrpc::Result<R>& result) {
    return result ? VMRPC_OK : result.error().status;
}

}  // namespace serving
