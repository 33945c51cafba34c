// The client's short way for plain calls (plain.hpp). What it does not find as it is in the common case it leaves to
// the long way, before the request is posted or after. Every instruction before the post and after the reply counts:
// the rest is done while the request is on its way, and what not every call needs is not inlined, for it takes
// registers.
#pragma once

#include "call/client_connection.hpp"
#include "call/plain.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace vmrpc::call {

/// Writes the arguments to a plain request. False if the place of one, or of the result, is missing.
inline bool put_values(const Function& function, void* const* arguments, const void* result, std::byte* to) {
    if (result == nullptr && function.result().category != VMRPC_IMPL_NONE) return false;
    for (const Argument& argument : function.arguments()) {
        if (*arguments == nullptr) return false;
        copy_value(to + argument.request_offset, *arguments++, argument.bytes);
    }
    return true;
}

/// Takes result and in/out arguments from the reply. The server is trusted by its client, and each value is read once:
/// no private copy of the line is needed.
inline void take_values(const Function& function, const std::uint8_t* from, void* const* arguments, void* result) {
    if (const Argument& returned = function.result(); returned.category == VMRPC_IMPL_VALUE)
        copy_value(result, from + returned.result_offset, returned.bytes);
    for (const Argument& argument : function.arguments()) {
        if (argument.travels_back()) copy_value(*arguments, from + argument.result_offset, argument.bytes);
        ++arguments;
    }
}

/// The thread's own lane, if it is at rest and the handle a client's whose connection is usable; else nullptr.
inline ClientLane* ClientConnection::usual_lane(const vmrpc_connection& connection) noexcept {
    // relaxed: a call that comes too late to see that the connection is over finds it while it waits
    if (!LanePool::has_own_lane(connection.open_serial.load(std::memory_order_relaxed))) return nullptr;
    ClientLane& lane = LanePool::last_own_lane();
    return lane.is_at_rest() ? &lane : nullptr;
}

// Posts the request, whose arguments are written, and looks for its reply. What is not as usual in between, a server
// that is to be rung too, is left to finish_plain(): so nothing is called from here, and no register needs to be saved.
[[gnu::always_inline]] inline ClientConnection::Plain ClientConnection::exchange_plain(ClientLane& lane,
                                                                                       std::uint32_t index,
                                                                                       std::uint64_t sizes) noexcept {
    const layout::Reply& reply = lane.plain_reply();
    const std::uint64_t sequence = lane.post_plain(index, sizes);
    if (is_to_ring(server_ring_me(), lane.ring_seen()) || heap().has_remote_frees() ||
        !lane.is_judged(control().server.poller_cpu.load_relaxed()) || !lane.replies_soon(reply, sequence)) [[unlikely]]
        return Plain::kPosted;
    std::uint64_t answer = 0;
    std::memcpy(&answer, &reply.body, sizeof answer);
    return answer == plain_answer(sizes) ? Plain::kDone : Plain::kPosted;
}

[[gnu::always_inline]] inline ClientConnection::Plain ClientConnection::call_without_values(
    vmrpc_connection& connection, std::uint32_t id) noexcept {
    ClientLane* const lane = usual_lane(connection);
    if (lane == nullptr || id >= kMaxFunctions) [[unlikely]]
        return Plain::kNotPosted;
    auto& client = static_cast<ClientConnection&>(connection);
    // relaxed: an index means nothing but itself
    const std::uint64_t known = client.known_[id].load(std::memory_order_relaxed);
    if ((known & kWithoutValues) == 0) [[unlikely]]
        return Plain::kNotPosted;
    return client.exchange_plain(*lane, static_cast<std::uint32_t>(known) - 1, 0);
}

inline ClientConnection::Plain ClientConnection::call_with_values(const Registered& function, void* const* arguments,
                                                                  void* result) noexcept {
    const Function& called = *function.function;
    const auto index = index_of_known(known_[function.id].load(std::memory_order_relaxed));
    ClientLane* const lane = usual_lane(*this);
    if (!index || !called.is_plain() || lane == nullptr) return Plain::kNotPosted;
    if (!put_values(called, arguments, result, lane->plain_arguments())) return Plain::kNotPosted;
    const Plain plain = exchange_plain(*lane, *index, called.plain_sizes());
    if (plain == Plain::kDone) take_values(called, lane->plain_reply().body.inline_result.data(), arguments, result);
    return plain;
}

}  // namespace vmrpc::call
