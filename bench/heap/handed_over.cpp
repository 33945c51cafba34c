#include "heap/handed_over.hpp"

#include "heap/functions.hpp"
#include "support/measure.hpp"
#include "support/must.hpp"

#include <cstddef>
#include <span>
#include <string>

namespace vmrpc::bench {
namespace {

void allocate_all(const RpcHeap& heap, std::span<char*> blocks) {
    for (char*& block : blocks) block = static_cast<char*>(heap.allocate(kRemoteBytes));
}

void free_all(const RpcHeap& heap, std::span<char* const> blocks) {
    for (char* block : blocks) heap.free(block);
}

/// Requires that `count` is a multiple of kRemoteBlocks.
void hand_over(const Client& client, std::span<char*> blocks, bool server_frees, int count) {
    const RpcHeap heap(client.handle());
    for (int done = 0; done < count; done += kRemoteBlocks) {
        allocate_all(heap, blocks);
        if (server_frees) {
            must(client.call<free_blocks>(blocks));
        } else {
            must(client.call<look_at_blocks>(blocks));
            free_all(heap, blocks);
        }
    }
}

template <class Call>
Sides sides(ScratchFolder& folder, Call call) {
    const std::string address = "local:" + folder.fresh().string();
    return {.serve = [=](const Report& report) { serve_heap(address, report); },
            .call =
                [=](const Effort& effort, pid_t server) {
                    const Client client = join_heap(address);
                    const auto blocks = must(client.heap().make_array<char*>(kRemoteBlocks));
                    return call(effort, server, client, blocks.span());
                }};
}

}  // namespace

Sides local_free_sides(ScratchFolder& folder) {
    return sides(folder, [](const Effort& effort, pid_t, const Client& client, std::span<char*> blocks) {
        const RpcHeap heap(client.handle());
        return measure_apart(
            effort, [&](int) { allocate_all(heap, blocks); }, [&](int) { free_all(heap, blocks); });
    });
}

Sides handed_over_sides(ScratchFolder& folder, bool server_frees) {
    return sides(folder, [=](const Effort& effort, pid_t server, const Client& client, std::span<char*> blocks) {
        return measure(effort, server, [&](int count) { hand_over(client, blocks, server_frees, count); });
    });
}

}  // namespace vmrpc::bench
