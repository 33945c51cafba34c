#include "conformance/server.hpp"

#include "conformance/functions.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <numeric>
#include <stdexcept>
#include <thread>

namespace conformance {
namespace {

Node* new_node(std::int64_t value) {
    auto* node = static_cast<Node*>(vmrpc_malloc(nullptr, sizeof(Node), nullptr));
    if (node == nullptr) throw std::runtime_error(VMRPC_LAST_ERROR_TEXT());
    *node = {nullptr, value};
    return node;
}

std::int64_t serve_sum_list(Node* head) {
    std::int64_t total = 0;
    for (const Node* node = head; node != nullptr; node = node->next) total += node->value;
    return total;
}

void serve_append(Node* head, std::int64_t value) {
    while (head->next != nullptr) head = head->next;
    head->next = new_node(value);
}

std::int64_t serve_sum_far_list(vmrpc::Ptr<FarNode> head) {
    std::int64_t total = 0;
    while (const FarNode* node = head.get()) {
        total += node->value;
        head = node->next;
    }
    return total;
}

vmrpc::Array<std::int64_t> serve_iota(std::int64_t count) {
    auto made = vmrpc::make_array<std::int64_t>(static_cast<std::size_t>(count));
    if (!made) throw std::runtime_error(made.error().text);
    std::iota(made->begin(), made->end(), 0);
    return *std::move(made);
}

CallerFacts serve_who() {
    const vmrpc::Caller caller = vmrpc::caller();
    std::any& state = caller.state();
    if (!state.has_value()) state = 0;
    const int calls = ++std::any_cast<int&>(state);
    return {caller.connection_number(), caller.uid(), caller.vm(), caller.trusted() ? 1 : 0, calls};
}

HeapFacts serve_server_heap() {
    vmrpc_impl_stats stats{};
    stats.struct_bytes = sizeof stats;
    vmrpc_impl_read_stats(VMRPC_CALLER()->connection, &stats);
    return {stats.live_blocks, stats.live_bytes};
}

void serve_take(vmrpc::Ptr<std::byte> block) {
    if (vmrpc_free(nullptr, block.get()) != VMRPC_OK) throw std::runtime_error(VMRPC_LAST_ERROR_TEXT());
}

void serve_wait_for_word(vmrpc::Ptr<std::uint32_t> word) {
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    // Pairs with the release store in waiting_test.cpp, CallGivenUp::let_go.
    while (std::atomic_ref(*word.get()).load(std::memory_order_acquire) == 0) {
        if (std::chrono::steady_clock::now() > limit) throw std::runtime_error("nobody wrote to the word");
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
}

void serve_wait_on_worker(vmrpc::Ptr<std::uint32_t> word) {
    // Pairs with the acquire and release of those who wait for it and let it go.
    const std::atomic_ref shared(*word.get());
    shared.store(2, std::memory_order_release);
    while (shared.load(std::memory_order_acquire) != 1) {
        if (vmrpc::Caller::cancelled()) throw std::runtime_error("cancelled");
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
}

std::uint64_t serve_stack() {
    return reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
}

std::uint64_t serve_secrets() {
    std::array<volatile std::uint64_t, 1'500> secrets;
    for (auto& secret : secrets) secret = kSecret;
    const auto place = reinterpret_cast<std::uintptr_t>(secrets.data());
    return place;
}

std::uint64_t serve_secret_below(std::uint64_t bytes) {
    auto* const line = static_cast<volatile std::uint64_t*>(__builtin_alloca(bytes));
    for (int i = 0; i < 8; ++i) line[i] = kSecret;
    return reinterpret_cast<std::uintptr_t>(line);
}

// NOLINTNEXTLINE(misc-no-recursion): that is its purpose
[[gnu::noinline]] std::int32_t serve_run_over(std::int32_t depth) {
    std::array<volatile std::int32_t, 200> used;
    used.back() = depth;
    return depth < 0 ? depth : serve_run_over(depth + 1) + used.back();
}

[[gnu::no_sanitize_address]] void serve_write_over(std::uint64_t inverse, std::uint64_t end) {
    auto* word = static_cast<volatile std::uint64_t*>(__builtin_frame_address(0));
    for (; reinterpret_cast<std::uintptr_t>(word) < end; ++word) {
        if (~*word == inverse) *word = 0;
    }
}

void add_stack(vmrpc::Server& server) {
    server.add<stack_of_function>(serve_stack);
    server.add<leave_secrets>(serve_secrets);
    server.add<leave_secret_below>(serve_secret_below);
    server.add<run_over>(serve_run_over);
    server.add<write_over>(serve_write_over);
}

void add_values(vmrpc::Server& server) {
    server.add<null>([] {});
    server.add<add>([](std::int64_t a, std::int32_t b) { return a + b; });
    server.add<bump>([](Counter& counter, const Counter& by) {
        counter.value += by.value;
        ++counter.steps;
    });
    server.add<reverse>([](const Big& big) {
        Big reversed = big;
        std::reverse(reversed.words.begin(), reversed.words.end());
        return reversed;
    });
    server.add<fail>([](std::string_view text) { throw std::runtime_error(std::string(text)); });
    server.add<sleep_ms>([](std::int32_t ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); });
    server.add<wait_for_word>(serve_wait_for_word);
    server.add<who>(serve_who);
}

void add_on_workers(vmrpc::Server& server) {
    server.add<add_on_worker>([](std::int64_t a, std::int32_t b) { return a + b; }, {.pooled = true, .ordered = true});
    server.add<wait_on_worker>(serve_wait_on_worker, {.pooled = true});
    server.add<iota_on_worker>(serve_iota, {.pooled = true, .max_running = 1});
}

void add_data(vmrpc::Server& server) {
    server.add<sum>([](std::span<const double> values) { return std::accumulate(values.begin(), values.end(), 0.0); });
    server.add<scale>([](std::span<double> values, double factor) {
        for (double& value : values) value *= factor;
    });
    server.add<scale_slowly>([](std::span<double> values, double factor, std::int32_t ms) {
        std::this_thread::sleep_for(std::chrono::milliseconds(ms));
        for (double& value : values) value *= factor;
    });
    server.add<digest>(digest_of);
    server.add<iota>(serve_iota);
    server.add<sum_list>(serve_sum_list);
    server.add<append>(serve_append);
    server.add<sum_far_list>(serve_sum_far_list);
    server.add<take>(serve_take);
    server.add<server_heap>(serve_server_heap);
}

}  // namespace

vmrpc::Server make_server(const std::string& address, vmrpc::ServeOptions options) {
    options.trust_peer = true;
    options.workers = 2;
    vmrpc::Server server(address, std::move(options));
    add_values(server);
    add_on_workers(server);
    add_data(server);
    add_structures(server);
    add_containers(server);
    add_heaps(server);
    add_stack(server);
    add_callbacks(server);
    return server;
}

}  // namespace conformance
