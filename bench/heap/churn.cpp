#include "heap/churn.hpp"

#include "heap/functions.hpp"
#include "support/must.hpp"
#include "support/pin.hpp"

#include <time.h>

#include <array>
#include <cstddef>
#include <future>
#include <thread>
#include <vector>

namespace vmrpc::bench {
namespace {

constexpr std::array<std::size_t, 4> kSizes{16, 64, 256, 1024};

double thread_cpu_ns() {
    timespec time{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) * 1e9 + static_cast<double>(time.tv_nsec);
}

template <class Heap>
void churn_batches(const Heap& heap, int batches) {
    std::array<void*, kChurnBlocks> blocks{};
    for (int i = 0; i < batches; ++i) {
        for (std::size_t j = 0; j < blocks.size(); ++j) blocks[j] = heap.allocate(kSizes[j % kSizes.size()]);
        for (void* block : blocks) heap.free(block);
    }
}

/// What a thread does first is not counted: it has no cache yet.
template <class Heap>
double churn_on_threads(const Heap& heap, int threads, int batches) {
    unpin();
    std::vector<std::future<double>> running;
    for (int i = 0; i < threads; ++i) {
        running.push_back(std::async(std::launch::async, [&] {
            churn_batches(heap, batches / 10);
            const double before_ns = thread_cpu_ns();
            churn_batches(heap, batches);
            return thread_cpu_ns() - before_ns;
        }));
    }
    double cpu_ns = 0;
    for (auto& result : running) cpu_ns += result.get();
    return cpu_ns;
}

/// `round` makes what Effort says, in batches, and tells the CPU time of all of it.
template <class Round>
Figures churn_figures(const Effort& effort, int all_threads, Round&& round) {
    const double pairs = static_cast<double>(effort.batches) * kChurnBlocks * all_threads;
    return {.p50_ns = round(effort.batches) / pairs, .calls = static_cast<std::uint64_t>(pairs)};
}

Figures churn_both_sides(const Effort& effort, const Client& client, int threads) {
    must(client.require<churn_here>());
    return churn_figures(effort, 2 * threads, [&](int batches) {
        auto mine = std::async(std::launch::async, [&] { return churn(RpcHeap(client.handle()), threads, batches); });
        const double theirs = must(client.call<churn_here>(threads, batches));
        return mine.get() + theirs;
    });
}

}  // namespace

double churn(const RpcHeap& heap, int threads, int batches) {
    return churn_on_threads(heap, threads, batches);
}

double churn(const Mimalloc& heap, int threads, int batches) {
    return churn_on_threads(heap, threads, batches);
}

Sides churn_sides(ScratchFolder& folder, Kind kind, int threads) {
    if (kind == Kind::kMimalloc)
        return {.serve = idle, .call = [=](const Effort& effort, pid_t) {
                    return churn_figures(effort, threads,
                                         [&](int batches) { return churn(Mimalloc(), threads, batches); });
                }};
    const std::string address = "local:" + folder.fresh().string();
    return {.serve = [=](const Report& report) { serve_heap(address, report); },
            .call = [=](const Effort& effort, pid_t) { return churn_both_sides(effort, join_heap(address), threads); }};
}

}  // namespace vmrpc::bench
