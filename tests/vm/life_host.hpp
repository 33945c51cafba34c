// The server of life_test, on a thread of its own until destroyed.
#pragma once

#include "host_support.hpp"
#include "life_functions.hpp"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <numeric>
#include <string>
#include <thread>

namespace life {

class Host {
  public:
    explicit Host(const std::string& address)
        : server_(address, {.heap_bytes = 16U << 20,
                            .on_open = [this](const vmrpc::Caller&) { ++opened; },
                            .on_close = [this](const vmrpc::Caller&) { ++closed; },
                            .workers = 4}) {
        server_.add<add>([](std::int64_t a, std::int64_t b) { return a + b; });
        server_.add<slow_add>(
            [](std::int64_t a, std::int64_t b, std::uint32_t after_ms) {
                std::this_thread::sleep_for(std::chrono::milliseconds(after_ms));
                return a + b;
            },
            {.pooled = true});
        server_.add<sum>([](std::span<const std::uint64_t> values) {
            return std::accumulate(values.begin(), values.end(), std::uint64_t{0});
        });
        server_.add<note>([this] { ++noted_; });
        server_.add<noted>([this] { return noted_.exchange(0); });
        server_.add<ask>([this](const Question& question) { return ask_twice(question); }, {.pooled = true});
        server_.add<open_count>([this] { return opened - closed; });
        server_.add<closed_count>([this] { return closed.load(); });
        server_.add<life::phase>([this] { return phase.load(); });
        thread_ = std::thread([this] { result = server_.run(); });
    }
    Host(const Host&) = delete;
    Host& operator=(const Host&) = delete;
    ~Host() {
        server_.stop();
        thread_.join();
    }

    [[nodiscard]] bool all_are_closed() const { return opened == closed; }
    [[nodiscard]] const vmrpc::Result<void>& status() const { return server_.status(); }

    std::atomic<std::uint32_t> opened{0};
    std::atomic<std::uint32_t> closed{0};
    std::atomic<std::uint32_t> phase{0};
    // Of ask(), in this order:
    std::atomic<bool> asking{false};
    std::atomic<bool> paused{false};  // the test's: the VM stands still
    std::atomic<bool> answered{false};
    std::atomic<int> answer{-1};  // a status, before answered
    std::atomic<double> answer_ms{0};
    vmrpc::Result<void> result;

  private:
    using Question = vmrpc::Callback<std::int32_t(std::int32_t)>;

    std::int32_t ask_twice(const Question& question) {
        constexpr std::chrono::seconds hang{60};
        asking = true;
        if (!vmrpc::vm::soon([this] { return paused.load(); }, hang)) return -1;
        const auto start = vmrpc::vm::Clock::now();
        const auto first = question.within(std::chrono::milliseconds(200), 7);
        answer_ms = vmrpc::vm::ms_since(start);
        answer = first ? VMRPC_OK : first.error().status;
        answered = true;
        if (!vmrpc::vm::soon([this] { return !paused; }, hang)) return -1;
        const auto second = question(8);
        return second ? *second : -second.error().status;
    }

    std::atomic<std::uint64_t> noted_{0};
    vmrpc::Server server_;
    std::thread thread_;
};

}  // namespace life
