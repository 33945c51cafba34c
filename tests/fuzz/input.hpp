// What one run of a fuzzing target is given: bytes, taken piece by piece from the front.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>

namespace vmrpc::fuzz {

class Input {
  public:
    Input(const std::uint8_t* data, std::size_t bytes) : left_(std::as_bytes(std::span(data, bytes))) {}

    [[nodiscard]] bool is_empty() const { return left_.empty(); }
    /// A value; what the input lacks of it is 0.
    template <class T>
    T take() {
        static_assert(std::is_trivially_copyable_v<T>);
        T value{};
        const auto bytes = take_bytes(sizeof value);
        if (!bytes.empty()) std::memcpy(&value, bytes.data(), bytes.size());
        return value;
    }
    /// A number below `count`.
    std::uint32_t below(std::uint32_t count) { return take<std::uint8_t>() % count; }
    /// What is rare. Not for a 0, so that an input that ends leads to what is usual.
    bool one_in(std::uint32_t count) { return below(count) == count - 1; }
    bool flag() { return (take<std::uint8_t>() & 1) != 0; }
    /// As many bytes as there are, at most `most`.
    std::span<const std::byte> take_bytes(std::size_t most) {
        const auto taken = left_.first(std::min(most, left_.size()));
        left_ = left_.subspan(taken.size());
        return taken;
    }
    std::span<const std::byte> rest() { return take_bytes(left_.size()); }

    /// Writes bytes of the input over memory: where, how many and which ones, the input says.
    void scribble(std::span<std::byte> memory) {
        const std::size_t at = take<std::uint32_t>() % memory.size();
        const auto bytes = take_bytes(std::min<std::size_t>(below(65), memory.size() - at));
        if (!bytes.empty()) std::memcpy(memory.data() + at, bytes.data(), bytes.size());
    }
    /// Changes a value's bytes in as many places as the input says: one that is mostly right gets further.
    template <class T>
    void spoil(T& value) {
        static_assert(std::is_trivially_copyable_v<T>);
        for (std::uint32_t places = below(4); places != 0; --places) {
            const std::size_t at = take<std::uint16_t>() % sizeof value;
            const auto bytes = take_bytes(std::min<std::size_t>(1U << below(4), sizeof value - at));
            if (!bytes.empty()) std::memcpy(reinterpret_cast<std::byte*>(&value) + at, bytes.data(), bytes.size());
        }
    }

  private:
    std::span<const std::byte> left_;
};

}  // namespace vmrpc::fuzz

// What libFuzzer calls, and replay.cpp in its place.
// NOLINTNEXTLINE(readability-identifier-naming)
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
