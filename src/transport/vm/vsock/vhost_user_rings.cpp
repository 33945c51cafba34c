// What QEMU says about rings: VhostUser's other half.
#include "transport/socket.hpp"
#include "transport/vm/vsock/vhost_user.hpp"

#include <fmt/format.h>

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <string_view>

namespace vmrpc::transport::vm::vsock {
namespace {

// Writing to it must neither block nor raise a signal, as writing to a pipe could. That it does not block is QEMU's
// promise all the same: the flag is the open file's, and QEMU has the same one.
base::Status check_eventfd(int descriptor) {
    std::array<char, 64> target{};
    const auto name = fmt::format("/proc/self/fd/{}", descriptor);
    const ssize_t bytes = ::readlink(name.c_str(), target.data(), target.size());
    const std::string_view text(target.data(), static_cast<std::size_t>(std::max<ssize_t>(bytes, 0)));
    const int flags = ::fcntl(descriptor, F_GETFL);
    if (text != "anon_inode:[eventfd]" || flags < 0 || ::fcntl(descriptor, F_SETFL, flags | O_NONBLOCK) != 0)
        return base::fail(VMRPC_POISONED, "what interrupts the guest is not an eventfd");
    return {};
}

}  // namespace

base::Status VhostUser::handle_ring(Message& message) {
    const auto with_state = [&](const auto& function) { return payload_of<RingState>(message).and_then(function); };
    switch (static_cast<Request>(message.header.request)) {
        case Request::kSetRingSize:
            return with_state([this](const RingState& state) { return set_ring_size(state); });
        case Request::kSetRingBase:
            return with_state([this](const RingState& state) { return set_ring_base(state); });
        case Request::kGetRingBase:
            return with_state([&](const RingState& state) { return get_ring_base(message.header, state); });
        case Request::kEnableRing:
            return with_state([this](const RingState& state) { return enable_ring(state); });
        case Request::kSetRingAddress:
            return payload_of<RingAddress>(message).and_then(
                [this](const RingAddress& address) { return set_ring_address(address); });
        case Request::kSetRingKick:
        case Request::kSetRingCall:
        case Request::kSetRingError:
            return set_ring_eventfd(message);
        default:
            return base::fail(VMRPC_POISONED, fmt::format("request {}, which belongs to nothing that was offered",
                                                          message.header.request));
    }
}

base::Status VhostUser::set_ring_size(const RingState& state) {
    if (state.index >= kRings) return base::fail(VMRPC_POISONED, fmt::format("there is no ring {}", state.index));
    stop(state.index);
    rings_[state.index].size = state.value;
    return run_if_ready(state.index);
}

base::Status VhostUser::set_ring_address(const RingAddress& address) {
    if (address.index >= kRings) return base::fail(VMRPC_POISONED, fmt::format("there is no ring {}", address.index));
    if (address.flags != 0) return base::fail(VMRPC_POISONED, "a ring is to be logged, which was not offered");
    stop(address.index);
    rings_[address.index].address = address;
    rings_[address.index].has_address = true;
    return run_if_ready(address.index);
}

base::Status VhostUser::set_ring_base(const RingState& state) {
    if (state.index >= kRings || state.value > 0xffff)
        return base::fail(VMRPC_POISONED, fmt::format("ring {} begins at {}", state.index, state.value));
    if (rings_[state.index].is_running)
        return base::fail(VMRPC_POISONED, fmt::format("ring {} is moved while it runs", state.index));
    rings_[state.index].next = static_cast<std::uint16_t>(state.value);
    return {};
}

base::Status VhostUser::get_ring_base(const MessageHeader& header, const RingState& state) {
    if (state.index >= kRings) return base::fail(VMRPC_POISONED, fmt::format("there is no ring {}", state.index));
    stop(state.index);
    rings_[state.index].has_kick = false;  // it runs again with the next one
    const RingState base{.index = state.index, .value = rings_[state.index].next};
    return reply(header, bytes_of(base));
}

base::Status VhostUser::set_ring_eventfd(Message& message) {
    const auto word = payload_of<std::uint64_t>(message);
    if (!word) return tl::unexpected(word.error());
    const auto index = static_cast<std::uint32_t>(*word & kRingIndexMask);
    const bool has_eventfd = (*word & kNoEventfd) == 0;
    if (index >= kRings || has_eventfd != (message.descriptors.size() == 1))
        return base::fail(VMRPC_POISONED, fmt::format("request {} for {:#x} with {} descriptors",
                                                      message.header.request, *word, message.descriptors.size()));
    notify::GuardedFd eventfd;
    if (has_eventfd) eventfd = std::move(message.descriptors.front());
    const auto request = static_cast<Request>(message.header.request);
    if (request == Request::kSetRingCall) {
        if (has_eventfd) VMRPC_TRY(check_eventfd(eventfd.get()));
        owner_.set_call(index, std::move(eventfd));
    } else if (request == Request::kSetRingKick) {
        if (!has_eventfd) return base::fail(VMRPC_POISONED, "a ring without kicks, which would have to be polled");
        VMRPC_TRY(owner_.set_kick(index, std::move(eventfd)));
        rings_[index].has_kick = true;
        return run_if_ready(index);
    }
    return {};  // of errors nobody is told that way: the connection ends
}

base::Status VhostUser::enable_ring(const RingState& state) {
    if (state.index >= kRings || state.value > 1)
        return base::fail(VMRPC_POISONED, fmt::format("ring {} is to be enabled: {}", state.index, state.value));
    rings_[state.index].is_enabled = state.value == 1;
    if (state.value == 0) stop(state.index);
    return run_if_ready(state.index);
}

base::Status VhostUser::run_if_ready(std::uint32_t index) {
    Ring& ring = rings_[index];
    const bool is_ready = ring.is_enabled && ring.has_kick && ring.has_address && memory_ != nullptr;
    if (!is_ready || ring.is_running) return {};
    const auto place = RingPlace::locate(*memory_, ring.size, ring.address);
    if (!place) return tl::unexpected(place.error());
    owner_.start_ring(index, *place, ring.next);
    ring.is_running = true;
    return {};
}

void VhostUser::stop(std::uint32_t index) {
    Ring& ring = rings_[index];
    if (!ring.is_running) return;
    ring.next = owner_.stop_ring(index);
    ring.is_running = false;
}

void VhostUser::stop_all() {
    for (std::uint32_t i = 0; i < kRings; ++i) stop(i);
}

}  // namespace vmrpc::transport::vm::vsock
