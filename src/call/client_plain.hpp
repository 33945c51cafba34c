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
#include <optional>

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

/// The thread's own lane, if it is at rest, the call not one to be timed, and the handle a client's whose connection is
/// usable; else nullptr.
inline ClientLane* ClientConnection::usual_lane(const vmrpc_connection& connection) noexcept {
    // relaxed: a call that comes too late to see that the connection is over finds it while it waits
    if (!LanePool::has_own_lane(connection.open_serial.load(std::memory_order_relaxed))) return nullptr;
    ClientLane& lane = LanePool::last_own_lane();
    return lane.is_at_rest() && !lane.is_sample_due() ? &lane : nullptr;
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
    const std::uint64_t known = client.functions_.known(id);
    if ((known & kWithoutValues) == 0) [[unlikely]]
        return Plain::kNotPosted;
    return client.exchange_plain(*lane, static_cast<std::uint32_t>(known) - 1, 0);
}

inline ClientConnection::Plain ClientConnection::call_with_values(const Registered& function, void* const* arguments,
                                                                  void* result) noexcept {
    const Function& called = *function.function;
    const auto index = index_of_known(functions_.known(function.id));
    ClientLane* const lane = usual_lane(*this);
    if (!index || !called.is_plain() || lane == nullptr) return Plain::kNotPosted;
    if (!put_values(called, arguments, result, lane->plain_arguments())) return Plain::kNotPosted;
    const Plain plain = exchange_plain(*lane, *index, called.plain_sizes());
    if (plain == Plain::kDone) take_values(called, lane->plain_reply().body.inline_result.data(), arguments, result);
    return plain;
}

/// The lane that this thread made its last asynchronous call on, and the index of a function that is fit for the short
/// way; nullptr if anything is not as usual.
inline ClientLane* ClientConnection::usual_async_lane(const vmrpc_connection& connection,
                                                      const Function& function) noexcept {
    // relaxed: a call that comes too late to see that the connection is over finds it when it is waited for
    if (!LanePool::has_async_lane(connection.open_serial.load(std::memory_order_relaxed))) return nullptr;
    if (RunningCall::current() != nullptr) [[unlikely]]  // it may be nested, which the short way does not say
        return nullptr;
    ClientLane& lane = LanePool::last_async_lane();
    return lane.has_free_slot() && lane.abandoned_count() == 0 && function.is_plain() && !function.has_inouts()
               ? &lane
               : nullptr;
}

/// Reserves a slot for it, whose number is returned, and writes its arguments to the lane's next line; kReplySlots, and
/// nothing is done, if it is not resolved (`known` is 0), or the place of a value missing.
// A number, and not an optional one: what is stored in two parts and loaded as one word waits for all stores before it,
// the last request's to a line that the server has.
[[gnu::always_inline]] inline std::uint32_t ClientConnection::reserve_usual(ClientLane& lane, const Function& function,
                                                                            std::uint64_t known,
                                                                            void* const* arguments) noexcept {
    if (known == 0 || !put_values(function, arguments, &lane, lane.plain_arguments())) return layout::kReplySlots;
    lane.prepare_line_ahead();
    return lane.reserve_plain();
}

inline bool ClientConnection::start_plain(vmrpc_connection& connection, const Registered& function,
                                          void* const* arguments, vmrpc_token& token) noexcept {
    const Function& called = *function.function;
    ClientLane* const lane = usual_async_lane(connection, called);
    if (lane == nullptr) return false;
    auto& client = static_cast<ClientConnection&>(connection);
    const std::uint64_t known = client.functions_.known(function.id);
    const std::uint32_t slot = reserve_usual(*lane, called, known, arguments);
    if (slot == layout::kReplySlots) return false;
    PendingCall& call = (*lane->pending())[slot];
    call.begin_next();
    call.sequence.store(lane->calls() + 1, std::memory_order_relaxed);
    call.deadline_ns.store(base::Deadline::kNever, std::memory_order_relaxed);
    call.function = &called;
    call.is_watched = false;
    call.results = nullptr;
    put_token(token, call);
    client.post_usual(*lane, called, known, slot);
    return true;
}

inline bool ClientConnection::post_one_way_plain(vmrpc_connection& connection, const Registered& function,
                                                 void* const* arguments) noexcept {
    const Function& called = *function.function;
    ClientLane* const lane = usual_async_lane(connection, called);
    if (lane == nullptr) return false;
    auto& client = static_cast<ClientConnection&>(connection);
    const std::uint64_t known = client.functions_.known(function.id);
    const std::uint32_t slot = reserve_usual(*lane, called, known, arguments);
    if (slot == layout::kReplySlots) return false;
    lane->leave_unawaited_plain(slot);
    client.post_usual(*lane, called, known, slot);
    return true;
}

/// Posts what reserve_usual() has prepared.
[[gnu::always_inline]] inline void ClientConnection::post_usual(ClientLane& lane, const Function& function,
                                                                std::uint64_t known, std::uint32_t slot) noexcept {
    lane.post_plain(static_cast<std::uint32_t>(known) - 1, function.plain_sizes(), slot);
    if (is_to_ring(server_ring_me(), lane.ring_seen())) [[unlikely]]
        ring_if_asleep(lane);
}

inline bool ClientConnection::take_plain(PendingCall& call, void* result) noexcept {
    ClientLane& lane = *call.lane;
    if (!LanePool::is_own(lane) || call.is_watched) return false;  // nor is it in a forked child
    const Function& function = *call.function;
    const Argument& returned = function.result();
    if (!function.is_plain() || function.has_inouts() || (result == nullptr && returned.category != VMRPC_IMPL_NONE))
        return false;
    const layout::Reply& reply = lane.reply_line(call.slot);
    lane.prepare_reply_after(call.slot);
    // acquire: pairs with the server's release of the reply
    if (reply.sequence.load_acquire() != call.sequence.load(std::memory_order_relaxed)) return false;
    std::uint64_t answer = 0;
    std::memcpy(&answer, &reply.body, sizeof answer);
    if (answer != plain_answer(function.plain_sizes())) return false;
    if (returned.category == VMRPC_IMPL_VALUE)
        copy_value(result, reply.body.inline_result.data() + returned.result_offset, returned.bytes);
    call.begin_next();
    lane.release_plain(call.slot);
    return true;
}

}  // namespace vmrpc::call
