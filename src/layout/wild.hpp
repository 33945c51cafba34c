// From wild to tame: the one place where a value that a peer wrote becomes something that can be used.
//
// Whatever a peer can write is input. A value loaded from a segment is wrapped in Wild<T> at once; it cannot be used in
// arithmetic, as an index or as an address. The functions here check it against private bounds and return a plain
// value, or nothing. No other file turns an offset of a peer's into an address.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

namespace vmrpc::layout {

/// A number that a peer wrote. Already copied out of shared memory: it does not change any more, but may be anything.
template <class T>
class Wild {
  public:
    constexpr explicit Wild(T value) : value_(value) {}

    /// The value if it is at most `bound`.
    [[nodiscard]] constexpr std::optional<T> at_most(T bound) const {
        return value_ <= bound ? std::optional<T>(value_) : std::nullopt;
    }
    /// The value if it can index `count` things.
    [[nodiscard]] constexpr std::optional<T> below(T count) const {
        return value_ < count ? std::optional<T>(value_) : std::nullopt;
    }
    /// For messages and comparisons with a private value only.
    [[nodiscard]] constexpr T untrusted() const { return value_; }

  private:
    T value_;
};

/// A range of a segment, in bytes from its base; private and therefore trusted.
struct Extent {
    std::uint64_t offset = 0;
    std::uint64_t bytes = 0;
    [[nodiscard]] constexpr std::uint64_t end() const { return offset + bytes; }
};

/// How a place in the memory of two peers travels: the segment's index in the upper 16 bits, the offset in the lower
/// 48. The all-zero value is the null pointer: offset 0 is always the segment's header.
using WireOffset = std::uint64_t;
inline constexpr unsigned kWireOffsetBits = 48;
inline constexpr WireOffset kWireOffsetMask = (WireOffset{1} << kWireOffsetBits) - 1;

constexpr WireOffset to_wire(std::uint16_t segment, std::uint64_t offset) {
    return (WireOffset{segment} << kWireOffsetBits) | offset;
}

/// Whether `bytes` bytes at `offset` lie in `extent`. No sum can overflow.
constexpr bool holds(const Extent& extent, std::uint64_t offset, std::uint64_t bytes) {
    return offset >= extent.offset && offset - extent.offset <= extent.bytes &&
           bytes <= extent.bytes - (offset - extent.offset);
}

/// The segment that a place says that it is in: anything up to 65535.
constexpr std::uint16_t segment_of(Wild<WireOffset> where) {
    return static_cast<std::uint16_t>(where.untrusted() >> kWireOffsetBits);
}

/// The address of `count` elements of `element_bytes` at `where`, if they lie wholly in `extent` of the segment with
/// that index, aligned to `alignment` (a power of two). `segment` is that segment's base in this process.
inline std::optional<std::byte*> tame(std::byte* segment, const Extent& extent, Wild<WireOffset> where,
                                      Wild<std::uint64_t> count, std::uint64_t element_bytes, std::uint64_t alignment,
                                      std::uint16_t index = 0) {
    std::uint64_t bytes = 0;
    if (__builtin_mul_overflow(count.untrusted(), element_bytes, &bytes)) return std::nullopt;
    const WireOffset wire = where.untrusted();
    const std::uint64_t offset = wire & kWireOffsetMask;
    if (wire >> kWireOffsetBits != index || !holds(extent, offset, bytes) || offset % alignment != 0)
        return std::nullopt;
    return segment + offset;
}

}  // namespace vmrpc::layout
