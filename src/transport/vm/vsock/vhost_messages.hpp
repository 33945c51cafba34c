// The vhost-user protocol's messages, as QEMU's documentation (interop/vhost-user) has them. QEMU is the front end,
// this process the back end.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

namespace vmrpc::transport::vm::vsock {

static_assert(std::endian::native == std::endian::little, "messages and rings are used as they lie in memory");

/// What QEMU asks for; others need features that are not offered.
enum class Request : std::uint32_t {
    kGetFeatures = 1,
    kSetFeatures = 2,
    kSetOwner = 3,
    kResetOwner = 4,
    kSetMemoryTable = 5,
    kSetRingSize = 8,
    kSetRingAddress = 9,
    kSetRingBase = 10,
    kGetRingBase = 11,
    kSetRingKick = 12,
    kSetRingCall = 13,
    kSetRingError = 14,
    kGetProtocolFeatures = 15,
    kSetProtocolFeatures = 16,
    kGetRingCount = 17,
    kEnableRing = 18,
    kGetConfig = 24,
};

struct MessageHeader {
    std::uint32_t request = 0;
    std::uint32_t flags = 0;
    std::uint32_t bytes = 0;  // of the payload
};
inline constexpr std::uint32_t kVersionMask = 3;
inline constexpr std::uint32_t kVersion = 1;
inline constexpr std::uint32_t kIsReply = 1U << 2;
inline constexpr std::uint32_t kNeedsReply = 1U << 3;

/// Feature bits of the device and its rings.
inline constexpr std::uint64_t kVersion1 = std::uint64_t{1} << 32;
inline constexpr std::uint64_t kHasProtocolFeatures = std::uint64_t{1} << 30;
inline constexpr std::uint64_t kFeatures = kVersion1 | kHasProtocolFeatures;
/// Feature bits of the protocol: several rings, replies to everything on demand, the device's configuration.
inline constexpr std::uint64_t kProtocolMq = 1U << 0;
inline constexpr std::uint64_t kProtocolReplyAck = 1U << 3;
inline constexpr std::uint64_t kProtocolConfig = 1U << 9;
inline constexpr std::uint64_t kProtocolFeatures = kProtocolMq | kProtocolReplyAck | kProtocolConfig;

struct RingState {
    std::uint32_t index = 0;
    std::uint32_t value = 0;
};

/// Addresses in QEMU's own address space.
struct RingAddress {
    std::uint32_t index = 0;
    std::uint32_t flags = 0;
    std::uint64_t descriptors = 0;
    std::uint64_t used = 0;
    std::uint64_t available = 0;
    std::uint64_t log = 0;
};

/// Of a message that carries a ring's eventfd.
inline constexpr std::uint64_t kRingIndexMask = 0xff;
inline constexpr std::uint64_t kNoEventfd = 1U << 8;

struct MemoryTable {
    std::uint32_t regions = 0;
    std::uint32_t padding = 0;
};
struct MemoryRegion {
    std::uint64_t guest_address = 0;
    std::uint64_t bytes = 0;
    std::uint64_t user_address = 0;  // where QEMU has it
    std::uint64_t file_offset = 0;
};
inline constexpr std::size_t kMaxRegions = 8;

struct ConfigRange {
    std::uint32_t offset = 0;
    std::uint32_t bytes = 0;
    std::uint32_t flags = 0;
};
inline constexpr std::size_t kMaxConfigBytes = 256;

inline constexpr std::size_t kMaxPayloadBytes = sizeof(ConfigRange) + kMaxConfigBytes;
static_assert(sizeof(MessageHeader) == 12 && sizeof(RingState) == 8 && sizeof(RingAddress) == 40 &&
              sizeof(MemoryRegion) == 32 && sizeof(ConfigRange) == 12);
static_assert(kMaxPayloadBytes >= sizeof(MemoryTable) + kMaxRegions * sizeof(MemoryRegion));

/// The rings of a socket device. QEMU keeps the third one to itself; other VMMs set it up, and nothing is ever put into
/// it.
inline constexpr std::uint32_t kToGuest = 0;
inline constexpr std::uint32_t kFromGuest = 1;
inline constexpr std::uint32_t kEvents = 2;
inline constexpr std::uint32_t kRings = 3;

}  // namespace vmrpc::transport::vm::vsock
