// A client that posts what it likes, and does not wait: several requests from one thread, cancellations, wrong slots.
#pragma once

#include "call/client_lane.hpp"
#include "call/endpoint.hpp"
#include "conformance/ends.hpp"
#include "transport/transport.hpp"

#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

namespace serving {

/// Indices of the functions of serving::Server, and of the first that a test adds.
inline constexpr std::uint32_t kHoldIndex = vmrpc::layout::kReservedFunctions;
inline constexpr std::uint32_t kNoteIndex = kHoldIndex + 1;
inline constexpr std::uint32_t kHoldHereIndex = kHoldIndex + 2;
inline constexpr std::uint32_t kHereIndex = kHoldIndex + 3;
inline constexpr std::uint32_t kAddedIndex = kHoldIndex + 4;

class RawClient {
  public:
    using Slot = vmrpc::call::Slot;

    explicit RawClient(const std::string& address, std::uint32_t lanes = 4)
        : link_(vmrpc::transport::connect({address, {}, {}}, events_).value()), end_(*link_) {
        const auto& plan = end_.plan();
        for (std::uint32_t i = 0; i < lanes; ++i)
            lanes_.push_back(std::make_unique<vmrpc::call::ClientLane>(
                end_.lane(i), i, end_.segment(), vmrpc::layout::Extent{plan.stack_offset(i), plan.stack_bytes},
                vmrpc::notify::SpinBudget::kNever));
        end_.control().client.lanes_in_use.store_release(lanes);
    }

    /// Posts a call with one argument, and one result, of 64 bits.
    Slot post(std::uint32_t function, std::uint64_t argument, std::uint32_t lane = 0, std::uint64_t remaining_ns = 0) {
        return post_sized(function, &argument, sizeof argument, sizeof argument, lane, remaining_ns);
    }
    /// Posts one with neither.
    Slot post_empty(std::uint32_t function, std::uint32_t lane = 0, std::uint64_t remaining_ns = 0) {
        return post_sized(function, nullptr, 0, 0, lane, remaining_ns);
    }
    /// Cancels a call that was posted on that lane.
    Slot cancel(const Slot& call, std::uint32_t lane = 0) {
        return post_sized(static_cast<std::uint32_t>(vmrpc::layout::ReservedFunction::kCancel), &call.sequence,
                          sizeof call.sequence, 0, lane, 0);
    }
    /// Posts a request that names a slot in use.
    void post_again(const Slot& slot, std::uint32_t function, std::uint32_t lane = 0) {
        lanes_[lane]->post(slot, function, 0, 0, 0);
        ring(lane);
    }

    /// Says that it is about to sleep: the server is to ring for its next answer.
    void arm() {
        auto& generation = end_.control().ring_me[index_of(vmrpc::layout::Side::kClient)].generation;
        generation.store_relaxed(generation.load_relaxed() + 1);
        std::atomic_thread_fence(std::memory_order_seq_cst);  // pairs with the server's in must_ring()
    }

    [[nodiscard]] bool is_answered(const Slot& slot, std::uint32_t lane = 0) const {
        return lanes_[lane]->reply_word(slot).load_acquire() == slot.sequence;
    }
    /// Waits for the reply; its slot is free then.
    vmrpc_status status(const Slot& slot, std::uint32_t lane = 0) {
        return static_cast<vmrpc_status>(wait(slot, lane).status);
    }
    std::uint64_t value(const Slot& slot, std::uint32_t lane = 0) {
        std::uint64_t value = 0;
        std::memcpy(&value, wait(slot, lane).inline_result.data(), sizeof value);
        return value;
    }
    /// Whether the server has ended the connection as this client broke the protocol.
    [[nodiscard]] bool is_poisoned() const {
        return end_.control().server.state.load_acquire() ==
               static_cast<std::uint32_t>(vmrpc::layout::RegionState::kPoisoned);
    }
    [[nodiscard]] std::string server_text() const { return end_.control().server_text.data(); }

  private:
    class End final : public vmrpc::call::Endpoint {
      public:
        explicit End(vmrpc::transport::Link& link) : Endpoint(link, vmrpc::layout::Side::kClient, {}) {}

        [[nodiscard]] const vmrpc_caller& caller() const override { return caller_; }

      private:
        void on_violation(vmrpc::base::Error error) override { end(std::move(error)); }
        vmrpc_caller caller_{};
    };

    Slot post_sized(std::uint32_t function, const void* argument, std::uint32_t bytes, std::uint32_t result_bytes,
                    std::uint32_t lane, std::uint64_t remaining_ns) {
        const Slot slot = lanes_[lane]->reserve(bytes, result_bytes).value();
        if (bytes != 0) std::memcpy(slot.arguments, argument, bytes);
        lanes_[lane]->post(slot, function, bytes, result_bytes, remaining_ns);
        ring(lane);
        return slot;
    }
    void ring(std::uint32_t lane) {
        if (vmrpc::call::must_ring(end_.control().ring_me[index_of(vmrpc::layout::Side::kServer)],
                                   lanes_[lane]->ring_seen()))
            link_->ring();
    }
    vmrpc::layout::ReplyBody wait(const Slot& slot, std::uint32_t lane) {
        const bool came = vmrpc::transport::conformance::wait_until([&] { return is_answered(slot, lane); });
        EXPECT_TRUE(came);
        vmrpc::layout::ReplyBody reply = lanes_[lane]->reply(slot);
        if (!came) reply.status = 999;
        lanes_[lane]->release(slot);
        return reply;
    }

    vmrpc::transport::conformance::ClientEnd events_;
    std::unique_ptr<vmrpc::transport::ClientLink> link_;
    End end_;
    std::vector<std::unique_ptr<vmrpc::call::ClientLane>> lanes_;
};

}  // namespace serving
