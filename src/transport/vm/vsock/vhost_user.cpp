#include "transport/vm/vsock/vhost_user.hpp"

#include "layout/wild.hpp"
#include "transport/socket.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <vector>

namespace vmrpc::transport::vm::vsock {
namespace {

// How many descriptors a request may bring: all but two bring none.
std::size_t most_descriptors(Request request) {
    switch (request) {
        case Request::kSetMemoryTable:
            return kMaxRegions;
        case Request::kSetRingKick:
        case Request::kSetRingCall:
        case Request::kSetRingError:
            return 1;
        default:
            return 0;
    }
}

bool has_reply_of_its_own(Request request) {
    return request == Request::kGetFeatures || request == Request::kGetProtocolFeatures ||
           request == Request::kGetRingCount || request == Request::kGetRingBase || request == Request::kGetConfig;
}

}  // namespace

base::Result<MessageReader::Progress> VhostUser::receive() {
    auto progress = reader_.read();
    if (!progress || *progress != MessageReader::Progress::kMessage) return progress;
    Message message = reader_.take();
    VMRPC_TRY(handle(message));
    const bool wants_reply = (message.header.flags & kNeedsReply) != 0;
    if (wants_reply && !has_reply_of_its_own(static_cast<Request>(message.header.request)))
        VMRPC_TRY(reply_word(message.header, 0));
    return MessageReader::Progress::kMessage;
}

base::Status VhostUser::reply(const MessageHeader& to, std::span<const std::byte> payload) {
    const MessageHeader header{
        .request = to.request, .flags = kVersion | kIsReply, .bytes = static_cast<std::uint32_t>(payload.size())};
    std::vector<std::byte> message(sizeof header + payload.size());
    std::memcpy(message.data(), &header, sizeof header);
    std::copy(payload.begin(), payload.end(), message.begin() + sizeof header);
    return send_message(socket_, message);
}

base::Status VhostUser::reply_word(const MessageHeader& to, std::uint64_t word) {
    return reply(to, bytes_of(word));
}

base::Status VhostUser::handle(Message& message) {
    const auto request = static_cast<Request>(message.header.request);
    if (message.descriptors.size() > most_descriptors(request))
        return base::fail(VMRPC_POISONED, fmt::format("request {} with {} descriptors", message.header.request,
                                                      message.descriptors.size()));
    switch (request) {
        case Request::kGetFeatures:
            return message.payload.empty() ? reply_word(message.header, kFeatures) : misfit(message.header);
        case Request::kGetProtocolFeatures:
            return message.payload.empty() ? reply_word(message.header, kProtocolFeatures) : misfit(message.header);
        case Request::kGetRingCount:
            return message.payload.empty() ? reply_word(message.header, kRings) : misfit(message.header);
        case Request::kSetOwner:
            return message.payload.empty() ? base::Status() : misfit(message.header);
        case Request::kResetOwner:
            if (!message.payload.empty()) return misfit(message.header);
            stop_all();
            return {};
        case Request::kSetFeatures:
            return payload_of<std::uint64_t>(message).and_then([this](auto word) { return set_features(word); });
        case Request::kSetProtocolFeatures:
            return payload_of<std::uint64_t>(message).and_then(
                [this](auto word) { return set_protocol_features(word); });
        case Request::kSetMemoryTable:
            return set_memory_table(message);
        case Request::kGetConfig:
            return get_config(message);
        default:
            return handle_ring(message);
    }
}

base::Status VhostUser::set_features(std::uint64_t features) {
    if ((features & ~kFeatures) != 0)
        return base::fail(VMRPC_POISONED,
                          fmt::format("features {:#x}, of which only {:#x} were offered", features, kFeatures));
    // Until 7.2 QEMU did not repeat this bit, and enabled no rings: they are enabled as they are.
    if ((features & kHasProtocolFeatures) != 0) return {};
    for (std::uint32_t i = 0; i < kRings; ++i) VMRPC_TRY(enable_ring({.index = i, .value = 1}));
    return {};
}

base::Status VhostUser::set_protocol_features(std::uint64_t features) const {
    if ((features & ~kProtocolFeatures) == 0) return {};
    return base::fail(VMRPC_POISONED, fmt::format("protocol features {:#x}, of which only {:#x} were offered", features,
                                                  kProtocolFeatures));
}

base::Status VhostUser::set_memory_table(Message& message) {
    MemoryTable table;
    if (message.payload.size() < sizeof table) return misfit(message.header);
    std::memcpy(&table, message.payload.data(), sizeof table);
    if (table.regions > kMaxRegions || message.payload.size() != sizeof table + table.regions * sizeof(MemoryRegion))
        return base::fail(VMRPC_POISONED, fmt::format("a table of {} memory regions in {} bytes", table.regions,
                                                      message.payload.size()));
    if (message.descriptors.size() != table.regions)
        return base::fail(VMRPC_POISONED, fmt::format("a table of {} memory regions with {} descriptors", table.regions,
                                                      message.descriptors.size()));
    std::array<MemoryRegion, kMaxRegions> regions;
    std::memcpy(regions.data(), message.payload.data() + sizeof table, table.regions * sizeof(MemoryRegion));
    auto memory = GuestMemory::map(std::span(regions).first(table.regions), message.descriptors);
    if (!memory) return tl::unexpected(std::move(memory).error());
    // QEMU may do so while rings run: where memory is plugged in. They go on where they were.
    stop_all();
    memory_ = memory->get();
    owner_.set_memory(std::move(*memory));
    for (std::uint32_t i = 0; i < kRings; ++i) VMRPC_TRY(run_if_ready(i));
    return {};
}

base::Status VhostUser::get_config(const Message& message) {
    ConfigRange range;
    if (message.payload.size() < sizeof range) return misfit(message.header);
    std::memcpy(&range, message.payload.data(), sizeof range);
    if (message.payload.size() != sizeof range + range.bytes) return misfit(message.header);
    const auto config = bytes_of(guest_cid_);
    if (!layout::holds({0, config.size()}, range.offset, range.bytes))
        return base::fail(VMRPC_POISONED, fmt::format("{} bytes at {} of the configuration, which has {}", range.bytes,
                                                      range.offset, config.size()));
    std::vector<std::byte> answer(message.payload.begin(), message.payload.end());
    std::memcpy(answer.data() + sizeof range, config.data() + range.offset, range.bytes);
    return reply(message.header, answer);
}

}  // namespace vmrpc::transport::vm::vsock
