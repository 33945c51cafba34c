// What a stack holds of control flow while it is lent: kept privately, and compared before control returns there.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace vmrpc::stack {

/// A private copy of the lowest words in use of a stack that was left: saved registers and return addresses, which
/// nobody may change before control returns there.
class ControlWords {
  public:
    /// Copies what lies between two places, both aligned to a word; at most kMostBytes from `begin` up.
    ControlWords(std::byte* begin, const std::byte* end);

    /// The first place that has changed; nullptr if there is none.
    [[nodiscard]] const void* changed() const;
    /// Puts all of it back.
    void restore() const;

    static constexpr std::size_t kMostBytes = 4096;

  private:
    // One word at a time, and volatile: AddressSanitizer would object to a copy across frames.
    volatile std::uint64_t* begin_;
    std::size_t count_;
    std::array<std::uint64_t, kMostBytes / sizeof(std::uint64_t)> kept_;
};

}  // namespace vmrpc::stack
