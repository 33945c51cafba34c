// The functions of the conformance server that call their client back.
#include "conformance/callback_functions.hpp"
#include "conformance/server.hpp"

#include <chrono>
#include <memory>
#include <mutex>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <thread>

namespace conformance {
namespace {

using std::chrono::milliseconds;

template <class T>
Asked asked(const vmrpc::Result<T>& result) {
    Asked made{};
    if (result) return made;
    made.status = result.error().status;
    result.error().text.copy(made.text.data(), made.text.size() - 1);
    return made;
}

template <class T>
T need(vmrpc::Result<T> result) {
    if (!result) throw std::runtime_error(result.error().text);
    if constexpr (!std::is_void_v<T>) return *std::move(result);
}

std::int64_t serve_ask_twice(std::int64_t value) {
    return need(vmrpc::caller().call<twice_here>(value));
}

double serve_ask_for_data(std::int64_t count) {
    const vmrpc::Caller client = vmrpc::caller();
    auto lent = need(client.heap().make_array<double>(static_cast<std::size_t>(count)));
    std::iota(lent.begin(), lent.end(), 0.0);
    need(client.call<scale_here>(lent, 2.0));
    const std::vector<double> copied(lent.begin(), lent.end());
    double sum = need(client.call<sum_here>(lent)) + need(client.call<sum_here>(copied));
    Big big{};
    big.words.front() = 7;
    Counter counter{1, 2};
    const Big reversed = need(client.call<reverse_here>(big, counter));
    sum += static_cast<double>(reversed.words.back() + static_cast<std::uint64_t>(counter.value));
    const auto made = need(client.call<iota_here>(count));
    return sum + static_cast<double>(std::accumulate(made.begin(), made.end(), std::int64_t{0}));
}

Asked serve_ask_sleep(std::int32_t duration_ms, std::int32_t limit_ms) {
    if (limit_ms == 0) return asked(vmrpc::caller().call<sleep_here>(duration_ms));
    return asked(vmrpc::caller().call_within<sleep_here>(milliseconds(limit_ms), duration_ms));
}

std::int64_t serve_countdown(std::int64_t from) {
    return from <= 0 ? 0 : 1 + need(vmrpc::caller().call<countdown_here>(from - 1));
}

std::int64_t serve_count_if(std::span<const std::int64_t> values, const vmrpc::Callback<bool(std::int64_t)>& holds) {
    return std::count_if(values.begin(), values.end(), [&](std::int64_t value) { return need(holds(value)); });
}

/// One for all clients: a test uses it alone.
struct Kept {
    std::mutex mutex;
    std::optional<vmrpc::Callback<bool(std::int64_t)>> callable;
    std::thread thread;
    Asked last{};
    ~Kept() {
        if (thread.joinable()) thread.join();
    }
};
Kept kept;

void serve_count_between_calls(std::int32_t times, std::int32_t limit_ms) {
    if (kept.thread.joinable()) kept.thread.join();
    kept.thread = std::thread([peer = vmrpc::caller().peer(), times, limit_ms] {
        Asked last{};
        for (std::int32_t i = 0; i < times && last.status == VMRPC_OK; ++i)
            last = asked(peer.call_within<count_here>(milliseconds(limit_ms)));
        const std::scoped_lock lock(kept.mutex);
        kept.last = last;
    });
}

Asked serve_last_between_calls() {
    if (kept.thread.joinable()) kept.thread.join();
    const std::scoped_lock lock(kept.mutex);
    return kept.last;
}

}  // namespace

void add_callbacks(vmrpc::Server& server) {
    server.add<ask_twice>(serve_ask_twice);
    server.add<ask_twice_on_worker>(serve_ask_twice, {.pooled = true});
    server.add<ask_for_data>(serve_ask_for_data);
    server.add<ask_fail>([](std::string_view text) { return asked(vmrpc::caller().call<fail_here>(text)); });
    server.add<ask_sleep>(serve_ask_sleep);
    server.add<ask_sleep_on_worker>(serve_ask_sleep, {.pooled = true});
    server.add<countdown>(serve_countdown);
    server.add<count_if>(serve_count_if);
    server.add<keep>([](const vmrpc::Callback<bool(std::int64_t)>& callable) { kept.callable = callable; });
    server.add<call_kept>([] { return asked((*kept.callable)(1)); });
    server.add<count_between_calls>(serve_count_between_calls);
    server.add<last_between_calls>(serve_last_between_calls, {.pooled = true});
}

}  // namespace conformance
