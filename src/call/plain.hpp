// Plain calls: their arguments and results are values that fit into the request's line and the reply's. They are the
// common case, and each side has a short way for them, in which the words of a line are built, and compared, whole:
// what is left of a call's time beside its two cache lines is instructions.
#pragma once

#include "layout/lane.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>

namespace vmrpc::call {

/// The first words of a plain request's body; the two behind `sizes`, a frame's offset and the remaining time, mean
/// nothing in it and are not written.
struct PlainHead {
    std::uint64_t target;  // function index, and reply slot; no flags, no depth
    std::uint64_t sizes;   // bytes of arguments, and of results
};
static_assert(offsetof(layout::RequestBody, function) == 0 && offsetof(layout::RequestBody, flags) == 4 &&
              offsetof(layout::RequestBody, slot) == 6 && offsetof(layout::RequestBody, depth) == 7 &&
              offsetof(layout::RequestBody, frame_bytes) == 8 && offsetof(layout::RequestBody, result_bytes) == 12);

constexpr std::uint64_t plain_target(std::uint32_t function, std::uint32_t slot) {
    return function | std::uint64_t{slot} << 48;
}
constexpr std::uint64_t plain_sizes(std::uint32_t request_bytes, std::uint32_t result_bytes) {
    return request_bytes | std::uint64_t{result_bytes} << 32;
}
/// Whether a word that the peer wrote is such a target: no flags, no depth, and a slot that there is.
constexpr bool is_plain_target(std::uint64_t word) {
    static_assert(layout::kReplySlots == 16);
    return (word & 0xfff0'ffff'0000'0000) == 0;
}
constexpr std::uint32_t function_of(std::uint64_t target) {
    return static_cast<std::uint32_t>(target);
}
/// Requires is_plain_target().
constexpr std::uint32_t slot_of(std::uint64_t target) {
    return static_cast<std::uint32_t>(target >> 48);
}

/// The first word of a reply's body, for such sizes: VMRPC_OK, which is 0, and the results' size.
constexpr std::uint64_t plain_answer(std::uint64_t sizes) {
    return sizes & 0xffff'ffff'0000'0000;
}
static_assert(offsetof(layout::ReplyBody, status) == 0 && offsetof(layout::ReplyBody, result_bytes) == 4);

/// What a client knows of a function that it has resolved: its index at the server, and whether it has values.
constexpr std::uint64_t kWithoutValues = std::uint64_t{1} << 63;
constexpr std::uint64_t known_word(std::uint32_t index, bool has_values) {
    return (std::uint64_t{index} + 1) | (has_values ? 0 : kWithoutValues);
}
/// Nothing for 0.
constexpr std::optional<std::uint32_t> index_of_known(std::uint64_t known) {
    if (known == 0) return std::nullopt;
    return static_cast<std::uint32_t>((known & ~kWithoutValues) - 1);
}

/// Stores a word by itself: two words that a compiler brings together in one wide register by way of memory take
/// longer.
inline void store_word(std::byte* to, std::uint64_t word) {
    std::memcpy(to, &word, sizeof word);
    asm volatile("" : : : "memory");
}

/// memcpy, without a call for the sizes that nearly all values have.
inline void copy_value(void* to, const void* from, std::size_t bytes) {
    if (bytes == 8)
        std::memcpy(to, from, 8);
    else if (bytes == 4)
        std::memcpy(to, from, 4);
    else
        std::memcpy(to, from, bytes);
}

}  // namespace vmrpc::call
