// Requests, and everything else that a client can write into its region, against the server that reads it: lanes,
// frames on RPC stacks, answers to calls back, remote frees, the library's own functions.
#include "call/server_connection.hpp"
#include "fuzz/functions.hpp"
#include "fuzz/input.hpp"
#include "fuzz/region_link.hpp"

#include <array>
#include <memory>
#include <tuple>
#include <vector>

namespace vmrpc::fuzz {
namespace {

const Region& region() {
    static const Region made(
        {.lane_count = 2, .stack_bytes = 4 * layout::kAreaBytes, .arena_bytes = std::uint64_t{1} << 20});
    return made;
}

/// A client that posts what the input says.
class Client {
  public:
    void post(Input& input) {
        const std::uint32_t lane = input.below(2);
        layout::Request& line = lane_of(lane).requests.lines[next_[lane] % layout::kRequestRingLines];
        line.body = body(input, lane);
        line.sequence.store_release(++next_[lane] + (input.one_in(32) ? input.take<std::uint8_t>() : 0));
        region().control().client.lanes_in_use.store_relaxed(input.one_in(8) ? input.take<std::uint32_t>() : 2);
    }
    /// An answer to a call back that is made next.
    static void answer(Input& input) {
        layout::Reply& line = lane_of(input.below(2)).callback_replies[input.below(2)];
        line.body.status = input.one_in(4) ? input.take<std::uint32_t>() : 0;
        line.body.result_bytes = input.one_in(4) ? input.take<std::uint32_t>() : 16;
        const auto result = input.take_bytes(16);
        std::copy(result.begin(), result.end(), std::as_writable_bytes(std::span(line.body.inline_result)).begin());
        line.sequence.store_release(1 + input.below(4));
    }

  private:
    static layout::Lane& lane_of(std::uint32_t lane) {
        return reinterpret_cast<layout::Lane*>(region().base() + region().plan().lanes_offset)[lane];
    }
    static layout::RequestBody body(Input& input, std::uint32_t lane) {
        layout::RequestBody body{};
        const std::uint32_t index = input.below(32);
        body.function = index;
        body.slot = static_cast<std::uint8_t>(input.below(layout::kReplySlots));
        const call::Function* const function = functions().function(index);
        if (function != nullptr) {
            body.frame_bytes = function->request_bytes();
            body.result_bytes = function->result_bytes();
        }
        body.frame_offset = region().plan().stack_offset(lane) + std::uint64_t{input.below(64)} * 64;
        if (input.flag()) input.spoil(body);
        const auto arguments = input.take_bytes(sizeof body.inline_arguments);
        std::copy(arguments.begin(), arguments.end(), std::as_writable_bytes(std::span(body.inline_arguments)).begin());
        return body;
    }

    std::array<std::uint64_t, 2> next_{};
};

/// Where a client writes that wants to mislead: what the server reads, more often than data.
void scribble(Input& input) {
    const layout::RegionPlan& plan = region().plan();
    switch (input.below(6)) {
        case 0:
            return input.scribble(region().bytes(plan.region_offset, sizeof(layout::ControlPage)));
        case 1:
            return input.scribble(region().bytes(plan.queues_offset, 256));
        case 2:
            return input.scribble(region().bytes(plan.queues_offset + layout::kQueueStride, 256));
        case 3:
            return input.scribble(region().bytes(plan.lanes_offset, 2 * sizeof(layout::Lane)));
        case 4:
            return input.scribble(region().bytes(plan.stacks_offset, 4096));
        default:
            return input.scribble(region().bytes(plan.region_offset, plan.region_bytes));
    }
}

void run(Input& input) {
    region().format();
    auto serving = std::make_shared<call::ServingThread>(functions().table());
    serving->begin();
    const auto connection = call::ServerConnection::make(std::make_unique<RegionLink>(region()),
                                                         {.serving = serving, .callback_limit_ns = 1});
    static const auto frame = std::make_unique_for_overwrite<call::ServerFrame>();
    Client client;
    for (int step = 0; step < 100 && !input.is_empty() && !connection->is_over(); ++step) {
        switch (input.below(8)) {
            case 0:
            case 1:
                client.post(input);
                break;
            case 2:
                scribble(input);
                break;
            case 3:
                Client::answer(input);
                break;
            case 4:
                connection->arm();
                std::ignore = connection->pending();
                break;
            case 5:
                connection->turn_away(functions().table(), *frame);
                break;
            default:
                connection->poll(functions().table(), *frame, input.flag());
        }
    }
    connection->poll(functions().table(), *frame, true);
    if (connection->is_over()) connection->hang_up(connection->usable().error());
    connection->set_deserted();
}

}  // namespace
}  // namespace vmrpc::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    vmrpc::fuzz::Input input(data, size);
    vmrpc::fuzz::run(input);
    return 0;
}
