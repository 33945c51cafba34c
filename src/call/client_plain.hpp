// The client's short way for plain calls (plain.hpp). What it does not find as it is in the common case it leaves to
// the long way, before the request is posted or after. Every instruction before the post and after the reply counts:
// the rest is done while the request is on its way, and what not every call needs is not inlined, for it takes
// registers.
#pragma once

#include "call/client_connection.hpp"
#include "call/plain.hpp"
#include "notify/fork_guard.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace vmrpc::call {

/// Writes the arguments to a plain request. False if the place of one, or of the result, is missing.
[[gnu::noinline]] inline bool put_values(const Function& function, void* const* arguments, const void* result,
                                         std::byte* to) {
    if (result == nullptr && function.result().category != VMRPC_IMPL_NONE) return false;
    for (const Argument& argument : function.arguments()) {
        if (*arguments == nullptr) return false;
        copy_value(to + argument.request_offset, *arguments++, argument.bytes);
    }
    return true;
}

/// Takes result and in/out arguments from the reply. The server is trusted by its client, and each value is read once:
/// no private copy of the line is needed.
[[gnu::noinline]] inline void take_values(const Function& function, const std::uint8_t* from, void* const* arguments,
                                          void* result) {
    if (const Argument& returned = function.result(); returned.category == VMRPC_IMPL_VALUE)
        copy_value(result, from + returned.result_offset, returned.bytes);
    for (const Argument& argument : function.arguments()) {
        if (argument.travels_back()) copy_value(*arguments, from + argument.result_offset, argument.bytes);
        ++arguments;
    }
}

inline ClientConnection::Plain ClientConnection::call_plain(const Registered& function, void* const* arguments,
                                                            void* result) noexcept {
    const Function& called = *function.function;
    // relaxed: an index means nothing but itself
    const std::uint32_t known = indices_[function.id].load(std::memory_order_relaxed);
    ClientLane* const lane = lanes_->own_lane();
    if (known == 0 || lane == nullptr || !lane->is_at_rest() || !called.is_plain() || is_over() ||
        process_generation_ != notify::process_generation()) [[unlikely]]
        return Plain::kNotPosted;
    const std::uint64_t sizes = called.plain_sizes();
    if (sizes != 0 && !put_values(called, arguments, result, lane->plain_arguments())) return Plain::kNotPosted;
    const std::uint64_t sequence = lane->post_plain(known - 1, sizes);
    if (must_ring(control().ring_me[index_of(layout::Side::kServer)], lane->ring_seen())) [[unlikely]]
        ring_server();
    const bool is_as_usual = !heap().has_remote_frees() && lane->is_judged(control().server.poller_cpu.load_relaxed());
    if (!is_as_usual || !lane->replies_soon(sequence)) [[unlikely]]
        return Plain::kPosted;
    const layout::ReplyBody& reply = lane->plain_reply().body;
    std::uint64_t answer = 0;
    std::memcpy(&answer, &reply, sizeof answer);
    if (answer != plain_answer(sizes)) [[unlikely]]
        return Plain::kPosted;
    if (sizes != 0) take_values(called, reply.inline_result.data(), arguments, result);
    return Plain::kDone;
}

}  // namespace vmrpc::call
