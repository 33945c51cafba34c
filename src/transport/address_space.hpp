// Where segments go in a process's address space, so that both sides can have one at the same address.
//
// A part of the address space that systems leave alone is cut into slots. Each side knows which of its slots are free;
// a segment goes into adjacent slots that are free on both sides, starting at a random one, so that two servers behind
// one client rarely want the same.
#pragma once

#include "base/result.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace vmrpc::transport {

inline constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define VMRPC_UNDER_TSAN 1
#endif
#elif defined(__SANITIZE_THREAD__)
#define VMRPC_UNDER_TSAN 1
#endif

#if defined(__aarch64__)
// Addresses may have 39 bits only: 288 GiB of the lower half, below programs and far below libraries.
inline constexpr std::uint64_t kSlotBytes = kGiB / 4;
inline constexpr std::uint64_t kFirstSlot = 0x08'0000'0000;
inline constexpr std::uint64_t kEndOfSlots = 0x50'0000'0000;
#elif defined(VMRPC_UNDER_TSAN)
// The thread sanitizer ends a process that maps anything outside the ranges that it shadows. In this one it leaves the
// 340 GiB below where programs are loaded.
inline constexpr std::uint64_t kSlotBytes = 8 * kGiB;
inline constexpr std::uint64_t kFirstSlot = 0x5500'0000'0000;
inline constexpr std::uint64_t kEndOfSlots = kFirstSlot + 340 * kGiB;
#else
inline constexpr std::uint64_t kSlotBytes = 8 * kGiB;
inline constexpr std::uint64_t kFirstSlot = 0x1100'0000'0000;
inline constexpr std::uint64_t kEndOfSlots = 0x5500'0000'0000;
#endif
inline constexpr std::uint32_t kSlotCount = static_cast<std::uint32_t>((kEndOfSlots - kFirstSlot) / kSlotBytes);

/// Which slots are free: one bit for each, set if free. Its words travel in hand-shakes; slots from kSlotCount on do
/// not exist and are never looked at.
class SlotMap {
  public:
    static constexpr std::size_t kWords = 8704 / 64;  // of the platform with the most slots
    using Words = std::array<std::uint64_t, kWords>;

    /// No slot is free.
    SlotMap() = default;
    explicit SlotMap(const Words& words) : words_(words) {}
    [[nodiscard]] static SlotMap all_free();

    [[nodiscard]] const Words& words() const { return words_; }
    [[nodiscard]] bool is_free(std::uint32_t slot) const { return (words_[slot / 64] >> (slot % 64) & 1) != 0; }
    /// Marks every slot that shares a byte with [begin, end) as used.
    void use(std::uint64_t begin, std::uint64_t end);
    /// Slots that are free in both.
    [[nodiscard]] SlotMap operator&(const SlotMap& other) const;
    /// The address of adjacent free slots that hold `bytes`, the first such at or after slot `start`, going round.
    [[nodiscard]] std::optional<std::uint64_t> find(std::uint64_t bytes, std::uint32_t start) const;

  private:
    Words words_{};
};
static_assert(kSlotCount <= SlotMap::kWords * 64);

/// The slots that a process leaves free whose /proc/PID/maps reads `maps`. Lines that cannot be read are passed over.
[[nodiscard]] SlotMap free_slots_of(std::string_view maps);

/// The free slots of this process, now. Another thread may map something there meanwhile: MAP_FIXED_NOREPLACE tells.
/// Errors: what opening /proc/self/maps gives; without it no address can be agreed on.
[[nodiscard]] base::Result<SlotMap> own_free_slots();

/// A slot to start looking at.
[[nodiscard]] std::uint32_t random_slot();

/// Whether `bytes` from `address` lie in slots.
[[nodiscard]] constexpr bool in_slots(std::uint64_t address, std::uint64_t bytes) {
    return address >= kFirstSlot && address < kEndOfSlots && bytes <= kEndOfSlots - address;
}

}  // namespace vmrpc::transport
