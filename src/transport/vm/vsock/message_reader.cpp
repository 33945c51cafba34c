#include "transport/vm/vsock/message_reader.hpp"

#include <fmt/format.h>

#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <mutex>
#include <utility>

namespace vmrpc::transport::vm::vsock {
namespace {

// Takes over the descriptors that came with a piece. Requires ForkLock::kDescriptors. False: there were too many.
bool adopt(msghdr& header, std::vector<notify::GuardedFd>& into) {
    bool had_room = (header.msg_flags & MSG_CTRUNC) == 0;
    for (cmsghdr* part = CMSG_FIRSTHDR(&header); part != nullptr; part = CMSG_NXTHDR(&header, part)) {
        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
        const std::size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (std::size_t i = 0; i < count; ++i) {
            int descriptor = -1;
            std::memcpy(&descriptor, CMSG_DATA(part) + i * sizeof(int), sizeof descriptor);
            base::Fd owned(descriptor);
            if (into.size() < kMaxRegions)
                into.push_back(notify::GuardedFd::adopt_locked(std::move(owned)));
            else
                had_room = false;
        }
    }
    return had_room;
}

}  // namespace

base::Status misfit(const MessageHeader& header) {
    return base::fail(VMRPC_POISONED, fmt::format("request {} with {} bytes", header.request, header.bytes));
}

MessageHeader MessageReader::header() const {
    MessageHeader header;
    std::memcpy(&header, bytes_.data(), sizeof header);
    return header;
}

base::Result<MessageReader::Progress> MessageReader::read() {
    if (got_ < sizeof(MessageHeader)) {
        const auto whole = read_until(sizeof(MessageHeader));
        if (!whole) return tl::unexpected(whole.error());
        if (!*whole) return got_ == 0 ? Progress::kNothing : Progress::kPartial;
        VMRPC_TRY(check_header());
    }
    const auto whole = read_until(sizeof(MessageHeader) + header().bytes);
    if (!whole) return tl::unexpected(whole.error());
    return *whole ? Progress::kMessage : Progress::kPartial;
}

// Never reads beyond a message's end, so that descriptors belong to the message they came with.
base::Result<bool> MessageReader::read_until(std::size_t end) {
    if (got_ == end) return true;
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * kMaxRegions)> control{};
    iovec part{.iov_base = bytes_.data() + got_, .iov_len = end - got_};
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = control.data();
    header.msg_controllen = control.size();
    const std::lock_guard lock(fork_lock(notify::ForkLock::kDescriptors));
    const ssize_t got = ::recvmsg(socket_, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return false;
    if (got <= 0)
        return base::fail(VMRPC_PEER_LOST, got_ == 0 ? "QEMU has ended" : "QEMU has ended in the middle of a message");
    if (!adopt(header, descriptors_))
        return base::fail(VMRPC_POISONED,
                          fmt::format("a message with more descriptors than the {} that any can need", kMaxRegions));
    got_ += static_cast<std::size_t>(got);
    return got_ == end;
}

base::Status MessageReader::check_header() const {
    const MessageHeader header = this->header();
    if ((header.flags & kVersionMask) != kVersion)
        return base::fail(VMRPC_POISONED, fmt::format("a message of version {}, not {}: is this QEMU's vhost-user?",
                                                      header.flags & kVersionMask, kVersion));
    if ((header.flags & kIsReply) != 0)
        return base::fail(VMRPC_POISONED, fmt::format("request {} came as a reply", header.request));
    if (header.bytes > kMaxPayloadBytes)
        return base::fail(VMRPC_POISONED, fmt::format("request {} has {} bytes, no request more than {}",
                                                      header.request, header.bytes, kMaxPayloadBytes));
    return {};
}

Message MessageReader::take() {
    const MessageHeader header = this->header();
    got_ = 0;
    return {.header = header,
            .payload = std::span<const std::byte>(bytes_).subspan(sizeof header, header.bytes),
            .descriptors = std::exchange(descriptors_, {})};
}

}  // namespace vmrpc::transport::vm::vsock
