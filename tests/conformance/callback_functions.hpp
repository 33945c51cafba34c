// Functions that the conformance suite's clients serve, and those of the server that call them back.
#pragma once

#include "conformance/functions.hpp"

#include <vmrpc/vmrpc.hpp>

#include <cstdint>
#include <span>
#include <string_view>

namespace conformance {

// The client's.
std::int64_t twice_here(std::int64_t value);
double sum_here(std::span<const double> values);
void scale_here(std::span<double> values, double factor);
Big reverse_here(const Big& big, Counter& counter);
vmrpc::Array<std::int64_t> iota_here(std::int64_t count);
void fail_here(std::string_view text);
std::int64_t countdown_here(std::int64_t from);
void sleep_here(std::int32_t duration_ms);
void count_here();

/// What a call back that the server made has come to.
struct Asked {
    std::int32_t status;
    std::array<char, 200> text;
};

// The server's. The first is inline, the second runs on a worker; both call twice_here.
std::int64_t ask_twice(std::int64_t value);
std::int64_t ask_twice_on_worker(std::int64_t value);
/// Everything that is not a value of a word: the sum that comes of it.
double ask_for_data(std::int64_t count);
Asked ask_fail(std::string_view text);
/// Calls sleep_here with that duration and that limit; 0: none.
Asked ask_sleep(std::int32_t duration_ms, std::int32_t limit_ms);
Asked ask_sleep_on_worker(std::int32_t duration_ms, std::int32_t limit_ms);
/// 0, or one more than what countdown_here makes of one less, which asks this one in turn.
std::int64_t countdown(std::int64_t from);
/// How many of the values the caller's predicate holds for.
std::int64_t count_if(std::span<const std::int64_t> values, vmrpc::Callback<bool(std::int64_t)> predicate);
/// Keeps a callable beyond its call; calls what was kept.
void keep(vmrpc::Callback<bool(std::int64_t)> callable);
Asked call_kept();
/// Calls count_here so many times from a thread of the server's own, while no call of the client's runs.
void count_between_calls(std::int32_t times, std::int32_t limit_ms);
/// What the last of those has come to, once they have ended; of all clients.
Asked last_between_calls();

}  // namespace conformance
