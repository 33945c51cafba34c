#include "heap/workloads.hpp"

#include "heap/churn.hpp"
#include "heap/connect.hpp"
#include "heap/handed_over.hpp"
#include "heap/lists.hpp"
#include "heap/mapped.hpp"
#include "heap/pairs.hpp"
#include "support/floor_sides.hpp"
#include "support/ratios.hpp"

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

struct PlaceText {
    const char* name;
    const char* what;
};

PlaceText text_of(Place place) {
    switch (place) {
        case Place::kFrame:
            return {"value", "a call with it in the frame, by value"};
        case Place::kOutside:
            return {"outside", "a span of it outside of shared memory, copied in"};
        case Place::kStack:
            return {"stack", "a span of it on the RPC stack, entered for each call"};
        case Place::kBorrowed:
            return {"borrowed", "the same, the function runs there as well"};
        case Place::kHeap:
            return {"heap", "a span of it in the heap, a block for each call"};
    }
    return {};
}

int scaled(double scale, int count) {
    return std::max(2, static_cast<int>(scale * count));
}

/// The workloads of one round, in their order.
class Plan {
  public:
    Plan(ScratchFolder& folder, const Conditions& conditions)
        : folder_(folder), conditions_(conditions), scale_(conditions.scale) {}

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
            add(fmt::format("{} monotonic", name),
                fmt::format("100,000 {{char*, double}} {}, a monotonic buffer of the RPC heap", what),
                {.warm_up = 2, .batches = scaled(scale_, 10)},
                [&folder = folder_, timed] { return monotonic_list_sides(folder, timed); });
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

    void add_mapped() {
        const Effort effort{.warm_up = 1, .batches = 2};
        add(row::kMapped, "100 MiB of huge pages, connected and touched by both", effort,
            [&folder = folder_] { return mapped_heap_sides(folder); });
        workloads_.back().why_not = conditions_.no_huge_pages;
        add(row::kBareMapping, "100 MiB of huge pages, mapped and touched by both", effort,
            [] { return bare_mapping_sides(); });
        workloads_.back().why_not = conditions_.no_huge_pages;
    }
    void add_arguments() {
        add(row::kFloorPause, "two cache lines, spinning", calls(8000), [] { return floor_sides(Pause::kYes); });
        add(row::kFloorNoPause, "the same", calls(8000), [] { return floor_sides(Pause::kNo); });
        for (const std::size_t bytes : kArgumentBytes) {
            for (const Place place : kPlaces) {
                add(argument_row(place, bytes), text_of(place).what, calls(bytes > 10'000 ? 500 : 4000),
                    [&folder = folder_, place, bytes] { return argument_sides(folder, place, bytes); });
                if (place == Place::kFrame && bytes >= 65'536)
                    workloads_.back().why_not = "a frame holds less than 64 KiB beside the result";
            }
        }
    }

    std::vector<Workload> take() { return std::move(workloads_); }

  private:
    void add(std::string name, std::string what, const Effort& effort, std::function<Sides()> prepare) {
        workloads_.push_back({std::move(name), std::move(what), effort, std::move(prepare)});
    }

    /// Both sides spin.
    [[nodiscard]] Effort calls(int count) const {
        if (conditions_.one_cpu) return {.warm_up = 2, .batches = 4, .batch_calls = 2};
        return {.warm_up = scaled(scale_, count),
                .batches = scaled(scale_, count / 4),
                .batch_calls = 16,
                .singles = scaled(scale_, count)};
    }

    ScratchFolder& folder_;
    const Conditions& conditions_;
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

std::string argument_row(Place place, std::size_t bytes) {
    return fmt::format("{} {}", text_of(place).name, bytes);
}

std::vector<Workload> heap_workloads(ScratchFolder& folder, const Conditions& conditions) {
    Plan plan(folder, conditions);
    plan.add_pairs();
    plan.add_lists();
    plan.add_remote_frees();
    plan.add_threads();
    plan.add_connect();
    plan.add_mapped();
    plan.add_arguments();
    return plan.take();
}

}  // namespace vmrpc::bench
