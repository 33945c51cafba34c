// A client that writes anything anywhere into its region, and posts requests, while the server reads it: the server
// answers, or ends that connection, and goes on with others.
#include "call/server_connection.hpp"
#include "fuzz/functions.hpp"
#include "fuzz/region_link.hpp"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <random>
#include <thread>

namespace vmrpc::fuzz {
namespace {

const Region& region() {
    static const Region made(
        {.lane_count = 2, .stack_bytes = 4 * layout::kAreaBytes, .arena_bytes = std::uint64_t{1} << 20});
    return made;
}

layout::Lane& lane_of(std::uint32_t lane) {
    return reinterpret_cast<layout::Lane*>(region().base() + region().plan().lanes_offset)[lane];
}

/// The client, on a thread of its own: so many steps, or until it is destroyed.
class Scribbler {
  public:
    Scribbler(std::uint64_t seed, bool scribbles, int steps) : random_(seed), scribbles_(scribbles) {
        thread_ = std::thread([this, steps] {
            for (int i = 0; i < steps && !is_over_.load(std::memory_order_relaxed); ++i) step();
            is_over_.store(true, std::memory_order_relaxed);
        });
    }
    Scribbler(const Scribbler&) = delete;
    Scribbler& operator=(const Scribbler&) = delete;
    [[nodiscard]] bool is_over() const { return is_over_.load(std::memory_order_relaxed); }
    ~Scribbler() {
        is_over_.store(true, std::memory_order_relaxed);
        thread_.join();
    }

  private:
    void step() {
        for (std::uint32_t i = 0; i < 4; ++i) post(static_cast<std::uint32_t>(random_() % 2));
        if (scribbles_)
            scribble();
        else
            std::this_thread::yield();
    }
    /// A request to some function, whose arguments are where they should be, but may be anything. Goes on only when
    /// the one before was answered.
    void post(std::uint32_t lane) {
        std::uint64_t& next = next_[lane];
        const std::uint32_t slot = next % layout::kReplySlots;
        if (next > 1 && lane_of(lane).replies[(next - 1) % layout::kReplySlots].sequence.load_acquire() != next - 1)
            return;
        layout::Request& line = lane_of(lane).requests.lines[(next - 1) % layout::kRequestRingLines];
        layout::RequestBody body{};
        body.function = layout::kReservedFunctions + static_cast<std::uint32_t>(random_() % 16);
        body.slot = static_cast<std::uint8_t>(slot);
        if (const call::Function* const function = functions().function(body.function)) {
            body.frame_bytes = function->request_bytes();
            body.result_bytes = function->result_bytes();
        }
        body.frame_offset = region().plan().stack_offset(lane);
        const std::array<std::uint64_t, 3> arguments{region().plan().arenas_offset + random_() % 4096 * 8,
                                                     random_() % 64, random_()};
        std::memcpy(body.inline_arguments.data(), arguments.data(), sizeof arguments);
        line.body = body;
        line.sequence.store_release(next++);
        region().control().client.lanes_in_use.store_relaxed(2);
    }
    /// Words of what the server reads: more often where it reads most.
    void scribble() {
        const layout::RegionPlan& plan = region().plan();
        const std::array<layout::Extent, 5> areas{{{plan.region_offset, sizeof(layout::ControlPage)},
                                                   {plan.queues_offset, 2 * layout::kQueueStride},
                                                   {plan.lanes_offset, 2 * sizeof(layout::Lane)},
                                                   {plan.stacks_offset, 8192},
                                                   {plan.arenas_offset, 2 * plan.arena_bytes}}};
        const layout::Extent& area = areas[std::min<std::uint64_t>(random_() % 8, areas.size() - 1)];
        const std::uint64_t offset = area.offset + random_() % (area.bytes / 8) * 8;
        const std::array<std::uint64_t, 5> values{random_(), 0, ~std::uint64_t{0}, random_() % 4096,
                                                  plan.arenas_offset + random_() % (2 * plan.arena_bytes)};
        reinterpret_cast<layout::SharedWord<std::uint64_t>*>(region().base() + offset)
            ->store_relaxed(values[random_() % values.size()]);
    }

    std::mt19937_64 random_;
    const bool scribbles_;
    std::array<std::uint64_t, 2> next_{1, 1};
    std::atomic<bool> is_over_{false};
    std::thread thread_;
};

struct Served {
    std::uint64_t calls = 0;
    bool is_over = false;
};

/// One connection, until it is over, its client has done so many steps, or that many calls are served.
Served serve(std::uint64_t seed, bool scribbles, int steps, std::uint64_t most_calls) {
    static const auto frame = std::make_unique_for_overwrite<call::ServerFrame>();
    region().format();
    const auto serving = std::make_shared<call::ServingThread>(functions().table());
    serving->begin();
    const auto connection = call::ServerConnection::make(std::make_unique<RegionLink>(region()),
                                                         {.serving = serving, .callback_limit_ns = 1'000});
    Scribbler client(seed, scribbles, steps);
    Served served;
    bool is_last = false;  // what came at the end is looked at too
    while (!connection->is_over() && !is_last && connection->counters().calls.value() < most_calls) {
        is_last = client.is_over();
        if (connection->poll(functions().table(), *frame, true) == 0) std::this_thread::yield();
    }
    served.calls = connection->counters().calls.value();
    served.is_over = connection->is_over();
    if (served.is_over) {
        EXPECT_EQ(connection->usable().error().status, VMRPC_POISONED);
        connection->hang_up(connection->usable().error());
    }
    connection->set_deserted();
    return served;
}

TEST(ScribbledRegion, EndsItsOwnConnectionAtMost) {
    int ended = 0;
    // As many rounds more as it takes, where the two threads hardly ever run at the same time.
    for (std::uint64_t round = 0; round < 80 || (ended < 10 && round < 10'000); ++round)
        ended += serve(round, true, 3'000, 2'000).is_over ? 1 : 0;
    EXPECT_GE(ended, 10) << "hardly anything was found out: what was scribbled?";
}

TEST(ScribbledRegion, IsWhatEndsIt) {
    const Served served = serve(1, false, 100'000'000, 1'000);
    EXPECT_FALSE(served.is_over) << "requests alone are no violation";
    EXPECT_GE(served.calls, 1'000U);
}

}  // namespace
}  // namespace vmrpc::fuzz
