// The server of the benchmark's functions.
#include "heap/allocators.hpp"
#include "heap/churn.hpp"
#include "heap/functions.hpp"
#include "heap/mapped.hpp"
#include "support/must.hpp"

#include <cstddef>

namespace vmrpc::bench {
namespace {

/// Added to a client's pointer; 0 where both have the same addresses.
std::ptrdiff_t distance() {
    return vmrpc_offset(nullptr, VMRPC_DEFAULT_HEAP);
}

void serve_look_at(std::span<char* const> blocks) {
    for (char* const block : blocks) show(block);
}

void serve_free(std::span<char* const> blocks) {
    const RpcHeap heap(VMRPC_CALLER()->connection);
    const std::ptrdiff_t offset = distance();
    for (char* const block : blocks) heap.free(block + offset);
}

Array<char> serve_touch_halves(std::span<const char> clients) {
    read_each_page(clients);
    auto ours = must(make_array<char>(clients.size()));
    write_each_page(ours.span());
    return ours;
}

double serve_churn(int threads, int batches) {
    return churn(RpcHeap(VMRPC_CALLER()->connection), threads, batches);
}

}  // namespace

void serve_heap(const std::string& address, const Report& report) {
    Server server(address, {.trust_peer = true, .allow_huge_pages = true});
    must(server.add<look_at_blocks>(serve_look_at));
    must(server.add<free_blocks>(serve_free));
    must(server.add<touch_halves>(serve_touch_halves));
    must(server.add<churn_here>(serve_churn));
    say_ready(report);
    must(server.run());
}

Client join_heap(const std::string& address) {
    return must(Client::connect(address, {.trust_peer = true}));
}

}  // namespace vmrpc::bench
