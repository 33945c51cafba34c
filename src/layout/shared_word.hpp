// Words that two domains share: one side stores, the other loads, nothing else.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace vmrpc::layout {

/// One word of a segment. It has a single writer, and offers no read-modify-write on purpose: on memory that is not
/// write-back an atomic read-modify-write locks the bus.
template <class T>
class SharedWord {
    static_assert(std::atomic<T>::is_always_lock_free && sizeof(std::atomic<T>) == sizeof(T));

  public:
    SharedWord() = default;
    [[nodiscard]] T load_relaxed() const { return value_.load(std::memory_order_relaxed); }
    [[nodiscard]] T load_acquire() const { return value_.load(std::memory_order_acquire); }
    void store_relaxed(T value) { value_.store(value, std::memory_order_relaxed); }
    void store_release(T value) { value_.store(value, std::memory_order_release); }
    /// The word's address, for a futex.
    [[nodiscard]] const void* address() const { return &value_; }

  private:
    std::atomic<T> value_;
};

/// Copies what a peer may be changing meanwhile, each byte read once: after this call the compiler must take every
/// value from `to`, and can never go back to `from`.
inline void copy_from_peer(void* to, const void* from, std::size_t bytes) {
    std::memcpy(to, from, bytes);
    asm volatile("" : : "r"(to) : "memory");
}

/// The same for eight bytes, at any alignment: what is returned was read once.
inline std::uint64_t word_from_peer(const std::byte* from) {
    std::uint64_t word = 0;
    std::memcpy(&word, from, sizeof word);
    asm volatile("" : "+r"(word));
    return word;
}

}  // namespace vmrpc::layout
