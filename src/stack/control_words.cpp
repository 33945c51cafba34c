#include "stack/control_words.hpp"

#include <algorithm>

namespace vmrpc::stack {

[[gnu::no_sanitize_address]] ControlWords::ControlWords(std::byte* begin, const std::byte* end)
    : begin_(reinterpret_cast<volatile std::uint64_t*>(begin)),
      count_(std::min(static_cast<std::size_t>(end - begin), kMostBytes) / sizeof(std::uint64_t)) {
    for (std::size_t i = 0; i < count_; ++i) kept_[i] = begin_[i];
}

[[gnu::no_sanitize_address]] const void* ControlWords::changed() const {
    for (std::size_t i = 0; i < count_; ++i) {
        if (begin_[i] != kept_[i]) return const_cast<const std::uint64_t*>(begin_ + i);
    }
    return nullptr;
}

[[gnu::no_sanitize_address]] void ControlWords::restore() const {
    for (std::size_t i = 0; i < count_; ++i) begin_[i] = kept_[i];
}

}  // namespace vmrpc::stack
