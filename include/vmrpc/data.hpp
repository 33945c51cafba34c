// vmrpc, C++: data in the RPC heap.
#pragma once

#include "vmrpc/error.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <type_traits>
#include <utility>

namespace vmrpc {
inline namespace v0 {

/// What may be passed by value, or lie in a heap that two programs share.
template <class T>
concept Plain = std::is_trivially_copyable_v<T> && !std::is_const_v<T>;

/// An object in the heap, as a number that means the same on both sides, wherever the heap is mapped: it may be an
/// argument, and may be stored in the heap. Does not own.
template <class T>
class Ptr {
  public:
    Ptr() = default;

    /// The object, in the connection of the call being served on this thread. nullptr if this is null, or does not lie
    /// wholly in that connection's heap, aligned. An argument of type Ptr has been checked before the function runs.
    [[nodiscard]] T* get() const { return get_from(nullptr); }
    [[nodiscard]] T& operator*() const { return *get(); }
    [[nodiscard]] T* operator->() const { return get(); }
    explicit operator bool() const { return wire_ != 0; }
    friend bool operator==(const Ptr&, const Ptr&) = default;

    /// The same in a given connection, for clients.
    [[nodiscard]] T* get_from(vmrpc_connection* connection) const {
        return static_cast<T*>(vmrpc_impl_from_wire(connection, wire_, sizeof(T), alignof(T)));
    }
    /// Of an object in the connection's heap; null if it does not lie there. nullptr: the connection of the call being
    /// served.
    static Ptr to(T* object, vmrpc_connection* connection = nullptr) {
        Ptr made;
        made.wire_ = vmrpc_impl_to_wire(connection, object);
        return made;
    }

  private:
    std::uint64_t wire_ = 0;
};

/// In a signature: a span that reaches the function where it lies, even from a client that is not trusted and may
/// change it at any time. Read each element once.
template <class Span>
struct InPlace : Span {
    using Span::Span;
    InPlace(const Span& from) : Span(from) {}  // NOLINT(google-explicit-constructor): it is one
};

namespace detail {

/// vmrpc_malloc; without options where the default serves, which is the quickest way.
inline void* allocate(vmrpc_connection* connection, std::size_t bytes, std::size_t alignment,
                      vmrpc_heap heap = VMRPC_DEFAULT_HEAP) {
    if (alignment <= alignof(std::max_align_t) && heap == VMRPC_DEFAULT_HEAP)
        return vmrpc_malloc(connection, bytes, nullptr);
    const vmrpc_malloc_options options{.struct_bytes = sizeof options, .alignment = alignment, .heap = heap};
    return vmrpc_malloc(connection, bytes, &options);
}
/// The size of an array in bytes; SIZE_MAX, which no heap can hold, if that is no number.
template <class T>
std::size_t bytes_of(std::size_t count) {
    std::size_t bytes = 0;
    return __builtin_mul_overflow(count, sizeof(T), &bytes) ? SIZE_MAX : bytes;
}

}  // namespace detail

/// Keeps a connection open for as long as something of its heap is held; empty for a server's, which ends with
/// on_close.
using ConnectionHold = std::shared_ptr<vmrpc_connection>;

/// `size()` elements in the heap, owned: freed with this object, on whichever side it is. Move-only. Elements are not
/// initialised, as those of std::make_unique_for_overwrite.
template <class T>
class Array {
    static_assert(Plain<T>, "vmrpc: what lies in the RPC heap must be trivially copyable");

  public:
    Array() = default;
    Array(ConnectionHold connection, vmrpc_block block) : connection_(std::move(connection)), block_(block) {}
    Array(Array&& other) noexcept
        : connection_(std::move(other.connection_)), block_(std::exchange(other.block_, {nullptr, 0})) {}
    Array& operator=(Array&& other) noexcept {
        if (this == &other) return *this;
        reset();
        connection_ = std::move(other.connection_);
        block_ = std::exchange(other.block_, {nullptr, 0});
        return *this;
    }
    Array(const Array&) = delete;
    Array& operator=(const Array&) = delete;
    ~Array() { reset(); }

    [[nodiscard]] T* data() const { return static_cast<T*>(block_.data); }
    [[nodiscard]] std::size_t size() const { return block_.count; }
    [[nodiscard]] bool empty() const { return block_.count == 0; }
    [[nodiscard]] T* begin() const { return data(); }
    [[nodiscard]] T* end() const { return data() + size(); }
    [[nodiscard]] T& operator[](std::size_t index) const { return data()[index]; }
    [[nodiscard]] std::span<T> span() const { return {data(), size()}; }
    [[nodiscard]] Ptr<T> ptr(std::size_t index = 0) const { return Ptr<T>::to(data() + index, connection_.get()); }

    /// Makes it `count` elements long, as std::realloc would: those that stay keep their values, new ones are not
    /// initialised. In place where the block has room (one of the other side's: only to become shorter); else the
    /// elements move to a block of this side's, pointers to them become invalid, and the old block is freed.
    /// Errors, with nothing changed: as Heap::make_array(); VMRPC_BAD_ARGUMENT for an array of no heap.
    Result<void> resize(std::size_t count) {
        if (count > size() && detail::bytes_of<T>(count) > vmrpc_impl_usable_bytes(connection_.get(), data())) {
            void* const moved = detail::allocate(connection_.get(), detail::bytes_of<T>(count), alignof(T));
            if (moved == nullptr) return detail::last_error();
            if (!empty()) std::memcpy(moved, data(), size() * sizeof(T));
            if (data() != nullptr) vmrpc_free(connection_.get(), data());
            block_.data = moved;
        }
        block_.count = count;
        return {};
    }

    /// Gives the block up without freeing it.
    vmrpc_block release() {
        connection_.reset();
        return std::exchange(block_, {nullptr, 0});
    }
    /// Frees the block.
    void reset() {
        if (block_.data != nullptr) vmrpc_free(connection_.get(), block_.data);
        release();
    }

  private:
    ConnectionHold connection_;
    vmrpc_block block_{nullptr, 0};
};

/// What a container throws that gets no memory. In a server function it may be left to the caller, who gets
/// VMRPC_FUNCTION_FAILED with the text.
class AllocationFailed : public std::bad_alloc {
  public:
    explicit AllocationFailed(Error error) : error_(std::move(error)), message_(error_.message()) {}
    [[nodiscard]] const char* what() const noexcept override { return message_.c_str(); }
    [[nodiscard]] const Error& error() const { return error_; }

  private:
    Error error_;
    std::string message_;
};

/// One object in the heap, owned: destroyed and freed with this, on whichever side it is. Move-only. The object may be
/// anything that means the same in both processes, a container of vmrpc/containers.hpp above all. As a result it hands
/// the object over with no copy; the answer to a call that was given up at its time limit is freed without a
/// destructor. A server's must be gone when on_close has returned.
template <class T>
class Owned {
  public:
    Owned() = default;
    /// Takes over `object`, which lies in a block of its own of the connection's heap, of either side.
    Owned(ConnectionHold connection, T* object) : connection_(std::move(connection)), object_(object) {}
    Owned(Owned&& other) noexcept
        : connection_(std::move(other.connection_)), object_(std::exchange(other.object_, nullptr)) {}
    Owned& operator=(Owned&& other) noexcept {
        if (this == &other) return *this;
        reset();
        connection_ = std::move(other.connection_);
        object_ = std::exchange(other.object_, nullptr);
        return *this;
    }
    Owned(const Owned&) = delete;
    Owned& operator=(const Owned&) = delete;
    ~Owned() { reset(); }

    [[nodiscard]] T* get() const { return object_; }
    [[nodiscard]] T& operator*() const { return *object_; }
    [[nodiscard]] T* operator->() const { return object_; }
    explicit operator bool() const { return object_ != nullptr; }
    /// To be passed to a function; the object stays owned here.
    [[nodiscard]] Ptr<T> ptr() const { return Ptr<T>::to(object_, connection_.get()); }

    /// Gives the object up without destroying it: somebody else takes it over, on this side or the other.
    T* release() {
        connection_.reset();
        return std::exchange(object_, nullptr);
    }
    /// Destroys and frees the object.
    void reset() {
        if (object_ != nullptr) {
            object_->~T();
            vmrpc_free(connection_.get(), const_cast<std::remove_const_t<T>*>(object_));
        }
        release();
    }

  private:
    ConnectionHold connection_;
    T* object_ = nullptr;
};

/// See vmrpc_heap_options.
struct HeapOptions {
    bool within = false;
    bool prefault = false;
    bool lock = false;
};

/// A heap of one connection, as one of its sides allocates from it: the one that every connection has, or one that was
/// set up. A copy means the same heap. Threads: any.
class Heap {
  public:
    explicit Heap(ConnectionHold connection, vmrpc_heap number = VMRPC_DEFAULT_HEAP)
        : connection_(std::move(connection)), number_(number) {}

    /// Sets up a heap of this side's on the same connection, of at most `bytes` bytes: in a segment of its own, unless
    /// options.within. It lasts until destroy() or the connection's end, whatever becomes of this object. Blocks, and
    /// errors: as vmrpc_heap_setup.
    [[nodiscard]] Result<Heap> set_up(std::uint64_t bytes, const HeapOptions& options = {}) const {
        const vmrpc_heap_options given{.struct_bytes = sizeof given,
                                       .bytes = bytes,
                                       .within = options.within ? 1 : 0,
                                       .prefault = options.prefault ? 1 : 0,
                                       .lock = options.lock ? 1 : 0};
        vmrpc_heap number = VMRPC_DEFAULT_HEAP;
        if (vmrpc_heap_setup(connection_.get(), &given, &number) != VMRPC_OK) return detail::last_error();
        return Heap(connection_, number);
    }
    /// Ends a heap that was set up, and in which nothing lives. Errors: as vmrpc_heap_destroy.
    Result<void> destroy() const { return detail::to_result(vmrpc_heap_destroy(connection_.get(), number_)); }
    /// For the C API; on the other side too, if it has a segment of its own.
    [[nodiscard]] vmrpc_heap number() const { return number_; }

    /// `count` elements, not initialised. Errors: VMRPC_HEAP_FULL, VMRPC_BAD_ARGUMENT, and why the connection is over.
    template <Plain T>
    [[nodiscard]] Result<Array<T>> make_array(std::size_t count) const {
        auto block = allocate(detail::bytes_of<T>(count), alignof(T));
        if (!block) return tl::unexpected<Error>(std::move(block).error());
        return Array<T>(connection_, {*block, count});
    }
    /// One T, made of `arguments` in the heap. T holds no pointer of this process's alone: it is plain data, or a
    /// container of vmrpc/containers.hpp, whose elements lie in the connection's own heap: in a heap with a segment of
    /// its own only where both sides have the same addresses. Errors: as make_array(), also of what the object
    /// allocates itself; what its constructor throws otherwise is thrown.
    template <class T, class... Arguments>
    [[nodiscard]] Result<Owned<T>> make(Arguments&&... arguments) const {
        static_assert(!std::is_polymorphic_v<T>, "vmrpc: a type with virtual functions means something in one process");
        auto block = allocate(sizeof(T), alignof(T));
        if (!block) return tl::unexpected<Error>(std::move(block).error());
        try {
            return Owned<T>(connection_, new (*block) T(std::forward<Arguments>(arguments)...));
        } catch (const AllocationFailed& failure) {
            free(*block);
            return tl::unexpected<Error>(failure.error());
        } catch (...) {
            free(*block);
            throw;
        }
    }
    /// Takes over an object of this connection's heap that the other side gave up. nullptr gives an empty one.
    template <class T>
    [[nodiscard]] Owned<T> adopt(T* object) const {
        return Owned<T>(connection_, object);
    }
    template <class T>
    [[nodiscard]] Owned<T> adopt(Ptr<T> object) const {
        return adopt(object.get_from(connection_.get()));
    }
    /// A copy of `values`.
    template <class T>
    [[nodiscard]] Result<Array<std::remove_const_t<T>>> copy(std::span<T> values) const {
        auto made = make_array<std::remove_const_t<T>>(values.size());
        if (made) std::uninitialized_copy(values.begin(), values.end(), made->begin());
        return made;
    }

    /// Memory of the heap, to be freed with free(). Errors as make_array().
    [[nodiscard]] Result<void*> allocate(std::size_t bytes, std::size_t alignment = alignof(std::max_align_t)) const {
        void* block = detail::allocate(connection_.get(), bytes, alignment, number_);
        if (block == nullptr) return detail::last_error();
        return block;
    }
    /// Makes a block of this side's `bytes` bytes long, as std::realloc: in place if it has room, else it moves, at the
    /// default alignment. nullptr gives a new block. Errors, with nothing changed: as make_array(); VMRPC_BAD_FREE for
    /// a block of the other side, whose size only that side knows.
    [[nodiscard]] Result<void*> resize(void* block, std::size_t bytes) const {
        if (block == nullptr) return allocate(bytes);
        const std::size_t usable = usable_bytes(block);
        if (usable == 0)
            return tl::unexpected<Error>(
                Error{VMRPC_BAD_FREE, "resize of what is no live block of this side: copy it to a new one"});
        if (bytes <= usable) return block;
        auto moved = allocate(bytes);
        if (moved) {
            std::memcpy(*moved, block, usable);
            free(block);
        }
        return moved;
    }
    /// How many bytes of a block of this side may be used: at least what was asked for. 0 for anything else.
    [[nodiscard]] std::size_t usable_bytes(const void* block) const {
        return vmrpc_impl_usable_bytes(connection_.get(), block);
    }
    /// Frees a block of either side. Errors: VMRPC_BAD_FREE.
    Result<void> free(void* block) const { return detail::to_result(vmrpc_free(connection_.get(), block)); }

    /// Gives the memory behind what is empty of all heaps of this side back to the system at once. Blocks while that
    /// takes.
    Result<void> trim() const { return detail::to_result(vmrpc_impl_trim_heap(connection_.get())); }
    /// What lives in this heap, of this side's; all zero if there is none.
    [[nodiscard]] vmrpc_heap_stats stats() const {
        vmrpc_heap_stats stats{};
        stats.struct_bytes = sizeof stats;
        vmrpc_impl_read_heap_stats(connection_.get(), number_, &stats);
        return stats;
    }
    /// What keeps the connection open.
    [[nodiscard]] const ConnectionHold& hold() const { return connection_; }
    /// Some address in the connection's own heap, by which a container's allocator finds it; nullptr if the connection
    /// is closed.
    [[nodiscard]] const void* place() const { return vmrpc_impl_shared_memory(connection_.get()).data; }

  private:
    ConnectionHold connection_;
    vmrpc_heap number_;
};

}  // namespace v0
}  // namespace vmrpc
