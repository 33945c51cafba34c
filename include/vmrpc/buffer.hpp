// vmrpc, C++: a monotonic buffer, and containers whose memory comes from it.
#pragma once

#include "vmrpc/allocator.hpp"
#include "vmrpc/buffer.h"
#include "vmrpc/containers.hpp"

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

namespace vmrpc {
inline namespace v0 {

/// Bump allocation out of blocks of a connection's heap, for what is built for one call: it all goes with this object,
/// or with release(). The peer can use what is in it in place, and must not free it. Destructors are not run: for data
/// that owns nothing else. One thread at a time.
class MonotonicBuffer {
  public:
    /// The first block has `first_block_bytes`, 0: 64 KiB; each further one twice as much, up to 8 MiB. Nothing is
    /// allocated before it is needed. Keeps the client's connection open.
    explicit MonotonicBuffer(const Heap& heap, std::size_t first_block_bytes = 0)
        : hold_(heap.hold()), buffer_ VMRPC_BUFFER(hold_.get(), first_block_bytes) {}
    MonotonicBuffer(const MonotonicBuffer&) = delete;
    MonotonicBuffer& operator=(const MonotonicBuffer&) = delete;
    ~MonotonicBuffer() { release(); }

    /// Memory of the heap, not cleared; `alignment` is a power of two up to 2 MiB. nullptr on failure; why() says why.
    /// Does not block.
    [[nodiscard]] void* allocate(std::size_t bytes, std::size_t alignment = alignof(std::max_align_t)) {
        return VMRPC_BUFFER_ALLOCATE(&buffer_, bytes, alignment);
    }
    /// `count` elements, not initialised; nullptr on failure.
    template <Plain T>
    [[nodiscard]] T* allocate_array(std::size_t count) {
        std::size_t bytes = 0;
        if (__builtin_mul_overflow(count, sizeof(T), &bytes)) bytes = SIZE_MAX;  // which no heap can hold
        return static_cast<T*>(allocate(bytes, alignof(T)));
    }
    /// Why the last allocation of this thread failed: VMRPC_HEAP_FULL, VMRPC_BAD_ARGUMENT, or that the connection is
    /// over.
    [[nodiscard]] static Error why() { return detail::last_error().value(); }

    /// Frees everything at once; the buffer may be used again. Does not block.
    void release() { VMRPC_BUFFER_RELEASE(&buffer_); }

    /// While it lives, containers with a BufferAllocator take their memory from `buffer` on this thread. The last one
    /// made counts.
    class Use {
      public:
        explicit Use(MonotonicBuffer& buffer) : before_(std::exchange(current(), &buffer)) {}
        Use(const Use&) = delete;
        Use& operator=(const Use&) = delete;
        ~Use() { current() = before_; }

      private:
        MonotonicBuffer* before_;
    };

    /// The buffer in use on this thread; nullptr if there is none.
    static MonotonicBuffer*& current() {
        static thread_local MonotonicBuffer* buffer = nullptr;
        return buffer;
    }

  private:
    ConnectionHold hold_;
    vmrpc_buffer buffer_;
};

/// An allocator that takes memory from the MonotonicBuffer in use on this thread, and frees nothing. It is empty: a
/// container that lies in the heap holds nothing of one process. Throws AllocationFailed.
template <class T>
class BufferAllocator {
  public:
    using value_type = T;
    using pointer = RelativePtr<T>;
    using const_pointer = RelativePtr<const T>;
    using void_pointer = RelativePtr<void>;
    using const_void_pointer = RelativePtr<const void>;
    using size_type = std::size_t;
    using difference_type = std::ptrdiff_t;
    using is_always_equal = std::true_type;

    BufferAllocator() = default;
    template <class U>
    // NOLINTNEXTLINE(google-explicit-constructor): as every allocator
    BufferAllocator(const BufferAllocator<U>& /*other*/) noexcept {}

    [[nodiscard]] pointer allocate(size_type count) {
        MonotonicBuffer* const buffer = MonotonicBuffer::current();
        if (buffer == nullptr)
            throw AllocationFailed(
                {VMRPC_BAD_ARGUMENT,
                 "no monotonic buffer is in use on this thread: make a MonotonicBuffer::Use of one first"});
        void* const block = buffer->allocate(detail::bytes_of<T>(count), alignof(T));
        if (block == nullptr) throw AllocationFailed(MonotonicBuffer::why());
        return pointer(static_cast<T*>(block));
    }
    void deallocate(const pointer& /*block*/, size_type /*count*/) noexcept {}
    friend bool operator==(const BufferAllocator& /*left*/, const BufferAllocator& /*right*/) { return true; }
};

/// The containers of vmrpc/containers.hpp in a monotonic buffer. As std::pmr's beside std's they are types of their
/// own.
template <class T>
using BufferVector = boost::container::vector<T, BufferAllocator<T>>;
using BufferString = boost::container::basic_string<char, std::char_traits<char>, BufferAllocator<char>>;
template <class K, class V, class Compare = Less>
using BufferMap = boost::container::map<K, V, Compare, BufferAllocator<std::pair<const K, V>>>;
template <class K, class V, class HashOf = Hash, class EqualTo = Equal>
using BufferUnorderedMap = boost::unordered_map<K, V, HashOf, EqualTo, BufferAllocator<std::pair<const K, V>>>;

}  // namespace v0
}  // namespace vmrpc
