// A client with functions that the server may call.
#pragma once

#include "conformance/callback_functions.hpp"
#include "conformance/fixture.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <numeric>
#include <stdexcept>
#include <string>
#include <thread>

namespace conformance {

class CallsBack : public Calls {
  protected:
    CallsBack() {
        EXPECT_TRUE(client_.add<twice_here>([this](std::int64_t value) {
            threads_differ_ = threads_differ_ || std::this_thread::get_id() != asking_;
            return 2 * value;
        }));
        EXPECT_TRUE(client_.add<sum_here>(
            [](std::span<const double> values) { return std::accumulate(values.begin(), values.end(), 0.0); }));
        EXPECT_TRUE(client_.add<scale_here>([](std::span<double> values, double factor) {
            for (double& value : values) value *= factor;
        }));
        EXPECT_TRUE(client_.add<reverse_here>([](const Big& big, Counter& counter) {
            Big reversed = big;
            std::reverse(reversed.words.begin(), reversed.words.end());
            std::swap(counter.value, counter.steps);
            return reversed;
        }));
        EXPECT_TRUE(client_.add<iota_here>([](std::int64_t count) {
            auto made = vmrpc::make_array<std::int64_t>(static_cast<std::size_t>(count)).value();
            std::iota(made.begin(), made.end(), 0);
            return made;
        }));
        EXPECT_TRUE(client_.add<fail_here>([](std::string_view text) { throw std::runtime_error(std::string(text)); }));
        EXPECT_TRUE(client_.add<countdown_here>([this](std::int64_t from) -> std::int64_t {
            deepest_ = std::min(deepest_.load(), from);
            if (from <= 0) return 0;
            const auto rest = client_.call<countdown>(from - 1);
            if (!rest) throw std::runtime_error(rest.error().text);
            return 1 + *rest;
        }));
        EXPECT_TRUE(client_.add<sleep_here>([this](std::int32_t duration_ms) {
            std::this_thread::sleep_for(std::chrono::milliseconds(duration_ms));
            ++slept_;
        }));
        EXPECT_TRUE(client_.add<count_here>([this] { ++counted_; }));
    }
    [[nodiscard]] std::uint64_t server_blocks() const { return client_.call<server_heap>().value().live_blocks; }

    vmrpc::Client client_ = connect();
    std::thread::id asking_ = std::this_thread::get_id();
    std::atomic<bool> threads_differ_{false};
    std::atomic<std::int64_t> deepest_{1'000};
    std::atomic<int> slept_{0};
    std::atomic<int> counted_{0};
};

}  // namespace conformance
