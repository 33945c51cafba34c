#include "conformance/heap_functions.hpp"
#include "conformance/server.hpp"

#include <atomic>
#include <chrono>
#include <numeric>
#include <stdexcept>
#include <thread>

namespace conformance {
namespace {

vmrpc::Heap heap_of(std::uint32_t number) {
    const vmrpc::ConnectionHold unowned(vmrpc::ConnectionHold{}, VMRPC_CALLER()->connection);
    return vmrpc::Heap(unowned, number);
}

std::int64_t serve_set_up(std::uint64_t bytes) {
    const auto made = vmrpc::caller().heap().set_up(bytes);
    return made ? std::int64_t{made->number()} : -std::int64_t{made.error().status};
}

vmrpc::Array<std::int64_t> serve_iota_in_heap(std::int64_t count, std::uint32_t heap) {
    auto made = heap_of(heap).make_array<std::int64_t>(static_cast<std::size_t>(count));
    if (!made) throw std::runtime_error(made.error().text);
    std::iota(made->begin(), made->end(), 0);
    return *std::move(made);
}

void serve_append_in_heap(Node* head, std::int64_t value, std::uint32_t heap) {
    auto node = heap_of(heap).allocate(sizeof(Node));
    if (!node) throw std::runtime_error(node.error().text);
    while (head->next != nullptr) head = head->next;
    head->next = new (*node) Node{nullptr, value};
}

std::int64_t serve_sum(vmrpc::Ptr<Node> head, std::uint32_t heap) {
    const std::ptrdiff_t offset = vmrpc_offset(nullptr, heap);
    std::int64_t sum = 0;
    for (const Node* node = head.get(); node != nullptr;) {
        sum += node->value;
        const auto next = reinterpret_cast<std::intptr_t>(node->next);
        node = next == 0 ? nullptr : reinterpret_cast<const Node*>(next + offset);
    }
    return sum;
}

std::int64_t serve_sum_when_told(vmrpc::Ptr<std::uint32_t> word, std::span<const std::int64_t> values) {
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    const std::atomic_ref state(*word.get());
    state.store(1, std::memory_order_release);  // pairs with the test's acquire load
    // Pairs with the release store of the test that lets the call go.
    while (state.load(std::memory_order_acquire) != 2) {
        if (std::chrono::steady_clock::now() > limit) throw std::runtime_error("nobody wrote to the word");
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return std::accumulate(values.begin(), values.end(), std::int64_t{0});
}

std::int64_t serve_blocks(std::uint32_t heap) {
    vmrpc_heap_stats stats{};
    stats.struct_bytes = sizeof stats;
    if (VMRPC_HEAP_STATS(nullptr, heap, &stats) != VMRPC_OK) return -1;
    return static_cast<std::int64_t>(stats.live_blocks);
}

}  // namespace

void add_heaps(vmrpc::Server& server) {
    server.add<set_up_servers_heap>(serve_set_up);
    server.add<destroy_servers_heap>([](std::uint32_t heap) -> std::int32_t {
        const auto destroyed = heap_of(heap).destroy();
        return destroyed ? VMRPC_OK : destroyed.error().status;
    });
    server.add<iota_in_heap>(serve_iota_in_heap);
    server.add<append_in_heap>(serve_append_in_heap);
    server.add<servers_offset>([](std::uint32_t heap) { return std::int64_t{vmrpc_offset(nullptr, heap)}; });
    server.add<sum_with_offset>(serve_sum);
    server.add<sum_when_told>(serve_sum_when_told);
    server.add<blocks_in_heap>(serve_blocks);
}

}  // namespace conformance
