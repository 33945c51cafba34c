#include "heap/workloads.hpp"

#include "heap/churn.hpp"
#include "heap/connect.hpp"
#include "heap/handed_over.hpp"
#include "heap/lists.hpp"
#include "heap/pairs.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <utility>

namespace vmrpc::bench {
namespace {

constexpr std::array kKinds{Kind::kRpcHeap, Kind::kMimalloc, Kind::kBoost};

const char* kind_text(Kind kind) {
    return kind == Kind::kRpcHeap ? "the RPC heap" : kind == Kind::kMimalloc ? "mimalloc" : "Boost.Interprocess";
}

int scaled(double scale, int count) {
    return std::max(2, static_cast<int>(scale * count));
}

/// The workloads of one round, in their order.
class Plan {
  public:
    Plan(ScratchFolder& folder, double scale) : folder_(folder), scale_(scale) {}

    void add_pairs() {
        for (const std::size_t bytes : kPairBytes) {
            for (const Kind kind : kKinds) {
                // Boost's takes a mutex and walks a tree: it gets as many batches, of fewer pairs.
                const int pairs = kind == Kind::kBoost ? 100 : 1000;
                add(row_of(pair_row(bytes), kind), fmt::format("allocated and freed, {}", kind_text(kind)),
                    {.warm_up = 1000, .batches = scaled(scale_, 500), .batch_calls = pairs},
                    [&folder = folder_, kind, bytes] { return pair_sides(folder, kind, bytes); });
            }
        }
    }
    void add_lists() {
        const auto list = [this](const char* name, const char* what, Timed timed) {
            for (const Kind kind : kKinds)
                add(row_of(name, kind), fmt::format("100,000 {{char*, double}} {}, {}", what, kind_text(kind)),
                    {.warm_up = 2, .batches = scaled(scale_, 10)},
                    [&folder = folder_, kind, timed] { return list_sides(folder, kind, timed); });
        };
        list(row::kList, "built", Timed::kBuilding);
        list(row::kListFreed, "built and freed", Timed::kBuildingAndFreeing);
    }
    void add_remote_frees() {
        const Effort effort{.warm_up = 10, .batches = scaled(scale_, 300), .batch_calls = kHandedBlocks};
        add(row::kLocalFree, "256 bytes, freed by who allocated them", effort,
            [&folder = folder_] { return local_free_sides(folder); });
        add(row::kRemoteFree, "256 bytes, allocated by the client and freed by the server", effort,
            [&folder = folder_] { return remote_free_sides(folder); });
    }
    void add_threads() {
        for (const Kind kind : {Kind::kRpcHeap, Kind::kMimalloc}) {
            for (const int threads : {1, kManyThreads})
                add(row_of(threads == 1 ? row::kOneThread : row::kThreads, kind),
                    fmt::format("CPU time of a pair, {}, {}", kind_text(kind),
                                kind == Kind::kRpcHeap ? "so many on each side" : "in one process"),
                    {.batches = scaled(scale_, 1000)},
                    [&folder = folder_, kind, threads] { return churn_sides(folder, kind, threads); });
        }
    }
    void add_connect() {
        add(row::kConnect, "default heap, untouched", {.warm_up = 2, .batches = scaled(scale_, 20)},
            [&folder = folder_] { return connect_sides(folder); });
    }

    std::vector<Workload> take() { return std::move(workloads_); }

  private:
    void add(std::string name, std::string what, const Effort& effort, std::function<Sides()> prepare) {
        workloads_.push_back({std::move(name), std::move(what), effort, std::move(prepare)});
    }

    ScratchFolder& folder_;
    double scale_;
    std::vector<Workload> workloads_;
};

}  // namespace

std::string pair_row(std::size_t bytes) {
    return fmt::format("pair {}", bytes);
}

std::string row_of(std::string_view name, Kind kind) {
    return fmt::format("{}{}", name, kind == Kind::kRpcHeap ? "" : kind == Kind::kMimalloc ? " mimalloc" : " Boost");
}

std::vector<Workload> heap_workloads(ScratchFolder& folder, double scale) {
    Plan plan(folder, scale);
    plan.add_pairs();
    plan.add_lists();
    plan.add_remote_frees();
    plan.add_threads();
    plan.add_connect();
    return plan.take();
}

}  // namespace vmrpc::bench
