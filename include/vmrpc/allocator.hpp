// vmrpc, C++: the allocator of containers that lie in the heap.
#pragma once

#include "vmrpc/data.hpp"
#include "vmrpc/relative_ptr.hpp"

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

namespace vmrpc {
inline namespace v0 {

/// While it lives, containers of this thread that do not lie in a heap themselves, as the text that `map["a long key"]`
/// makes of its key, take their memory from `heap`. In a server function the heap of the call is in use without it. The
/// last one made counts.
class UseHeap {
  public:
    explicit UseHeap(const Heap& heap) : hold_(heap.hold()), before_(std::exchange(current(), hold_.get())) {}
    UseHeap(const UseHeap&) = delete;
    UseHeap& operator=(const UseHeap&) = delete;
    ~UseHeap() { current() = before_; }

    /// The connection of the heap in use on this thread; nullptr if there is none.
    static vmrpc_connection*& current() {
        static thread_local vmrpc_connection* connection = nullptr;
        return connection;
    }

  private:
    ConnectionHold hold_;
    vmrpc_connection* before_;
};

/// Allocates in the heap that the container lies in: its address says which connection of this process that is, so that
/// nothing of one process is stored in it, and either side may grow it. A block comes from the half of the heap of the
/// side that grows, and either side's blocks are freed. A container that lies elsewhere, on a stack say, allocates in
/// the heap that it was given, or else in that of UseHeap, or else in that of the call being served.
///
/// All are equal: a container may be moved, and swapped, within one connection's heap only.
/// Throws AllocationFailed; does not block. Threads: any, one container at a time.
template <class T>
class Allocator {
  public:
    using value_type = T;
    using pointer = RelativePtr<T>;
    using const_pointer = RelativePtr<const T>;
    using void_pointer = RelativePtr<void>;
    using const_void_pointer = RelativePtr<const void>;
    using size_type = std::size_t;
    using difference_type = std::ptrdiff_t;
    using is_always_equal = std::true_type;

    Allocator() = default;
    /// For a container that does not lie in `heap` itself.
    // NOLINTNEXTLINE(google-explicit-constructor): a heap may stand for its allocator
    Allocator(const Heap& heap) noexcept : place_(heap.place()) {}
    Allocator(const Allocator& other) noexcept : place_(other.place()) {}
    template <class U>
    // NOLINTNEXTLINE(google-explicit-constructor): as every allocator
    Allocator(const Allocator<U>& other) noexcept : place_(other.place()) {}
    Allocator& operator=(const Allocator& other) noexcept {
        if (this != &other) place_ = other.place();
        return *this;
    }
    ~Allocator() = default;

    [[nodiscard]] pointer allocate(size_type count) {
        void* const block = detail::allocate(connection(), detail::bytes_of<T>(count), alignof(T));
        if (block == nullptr) throw AllocationFailed(why());
        return pointer(static_cast<T*>(block));
    }
    void deallocate(const pointer& block, size_type /*count*/) noexcept {
        void* const plain = const_cast<std::remove_cv_t<T>*>(block.get());
        vmrpc_free(vmrpc_impl_connection_of(plain, nullptr), plain);
    }
    friend bool operator==(const Allocator& /*left*/, const Allocator& /*right*/) { return true; }

    /// An address in the heap that this was given or lies in; nullptr if there is none.
    [[nodiscard]] const void* place() const noexcept {
        if (const void* given = place_.get()) return given;
        return vmrpc_impl_connection_of(this, nullptr) != nullptr ? this : nullptr;
    }

  private:
    [[nodiscard]] vmrpc_connection* connection() const noexcept {
        if (const void* given = place_.get())
            if (vmrpc_connection* found = vmrpc_impl_connection_of(given, nullptr)) return found;
        if (vmrpc_connection* found = vmrpc_impl_connection_of(this, nullptr)) return found;
        return UseHeap::current();  // nullptr: that of the call being served
    }
    static Error why() {
        Error error = detail::last_error().value();
        if (error.status == VMRPC_BAD_ARGUMENT)
            error.text +=
                ". A container that does not lie in a heap needs one: make a vmrpc::UseHeap, or give it a "
                "vmrpc::Allocator";
        return error;
    }

    // Kept by allocators that do not lie in the heap, as the copies that containers make of theirs on the stack.
    RelativePtr<const void> place_;
};

}  // namespace v0
}  // namespace vmrpc
