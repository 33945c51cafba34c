// Sizes: blocks up to half a span come in classes, larger ones in whole spans.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace vmrpc::heap {

inline constexpr std::uint64_t kSpanBytes = std::uint64_t{64} * 1024;
inline constexpr std::uint64_t kMinBlockBytes = 16;
inline constexpr std::uint64_t kMaxSmallBytes = std::uint64_t{32} * 1024;
/// Segments begin at multiples of this in every process, so no offset can promise more.
inline constexpr std::uint64_t kMaxAlignment = std::uint64_t{2} * 1024 * 1024;

/// Classes in steps of 16 bytes up to 128, then four for each doubling: at most a quarter of a block is lost.
inline constexpr std::size_t kFineClasses = 8;
inline constexpr std::size_t kClassesPerDoubling = 4;
inline constexpr std::size_t kClassCount = kFineClasses + 8 * kClassesPerDoubling;

using SizeClass = std::uint8_t;

constexpr std::uint64_t round_up(std::uint64_t value, std::uint64_t unit) {
    return (value + unit - 1) / unit * unit;
}

/// What a thread keeps for itself: the classes, and blocks of one whole span as a class more.
inline constexpr std::size_t kCachedClasses = kClassCount + 1;
inline constexpr std::size_t kSpanClass = kClassCount;

/// The block size of a class.
constexpr std::uint64_t class_bytes(std::size_t size_class) {
    if (size_class < kFineClasses) return (size_class + 1) * kMinBlockBytes;
    const std::size_t coarse = size_class - kFineClasses;
    const std::uint64_t doubling_bytes = std::uint64_t{128} << (coarse / kClassesPerDoubling);
    return doubling_bytes + (coarse % kClassesPerDoubling + 1) * (doubling_bytes / kClassesPerDoubling);
}

inline constexpr auto kClassBytes = [] {
    std::array<std::uint32_t, kClassCount> bytes{};
    for (std::size_t i = 0; i < kClassCount; ++i) bytes[i] = static_cast<std::uint32_t>(class_bytes(i));
    return bytes;
}();
static_assert(kClassBytes.front() == kMinBlockBytes && kClassBytes.back() == kMaxSmallBytes);

/// The smallest class whose blocks have `bytes` bytes (1 to kMaxSmallBytes).
constexpr SizeClass class_of(std::uint64_t bytes) {
    if (bytes <= 128) return static_cast<SizeClass>((bytes - 1) / kMinBlockBytes);
    const std::size_t doubling =
        static_cast<std::size_t>(std::bit_width(bytes - 1)) - 1;  // 2^doubling < bytes <= 2^(doubling + 1)
    const std::uint64_t quarter = ((bytes - 1) >> (doubling - 2)) - kClassesPerDoubling;
    return static_cast<SizeClass>(kFineClasses + (doubling - 7) * kClassesPerDoubling + quarter);
}

/// class_of() by table, for what is asked for most.
inline constexpr std::uint64_t kTabledBytes = 1024;
inline constexpr auto kClassOfUnits = [] {
    std::array<SizeClass, kTabledBytes / kMinBlockBytes + 1> classes{};
    for (std::size_t units = 1; units < classes.size(); ++units) classes[units] = class_of(units * kMinBlockBytes);
    return classes;
}();

/// The cached class of a block of at most kSpanBytes bytes, 0 among them, at the default alignment.
constexpr std::size_t cached_class_of(std::uint64_t bytes) {
    if (bytes <= kTabledBytes) [[likely]]
        return kClassOfUnits[(bytes + kMinBlockBytes - 1) / kMinBlockBytes];
    return bytes <= kMaxSmallBytes ? class_of(bytes) : kSpanClass;
}
/// The block size of a cached class.
constexpr std::uint64_t cached_class_bytes(std::size_t cached_class) {
    return cached_class == kSpanClass ? kSpanBytes : kClassBytes[cached_class];
}

/// The class for a block of `bytes` bytes at a multiple of `alignment` (a power of two), or nothing if it takes whole
/// spans. Spans begin at multiples of their size, so a block is aligned if its class's size is a multiple.
constexpr std::optional<SizeClass> class_of(std::uint64_t bytes, std::uint64_t alignment) {
    const std::uint64_t rounded = round_up(std::max<std::uint64_t>(bytes, 1), alignment);
    if (rounded > kMaxSmallBytes) return std::nullopt;
    SizeClass size_class = class_of(rounded);
    while (kClassBytes[size_class] % alignment != 0) ++size_class;  // ends at the next power of two at the latest
    return size_class;
}

/// The cached class that serves such a request, if one does.
constexpr std::optional<std::size_t> cached_class_of(std::uint64_t bytes, std::uint64_t alignment) {
    if (const auto size_class = class_of(bytes, alignment)) return *size_class;
    if (bytes <= kSpanBytes && alignment <= kSpanBytes) return kSpanClass;
    return std::nullopt;
}

}  // namespace vmrpc::heap
