// vmrpc, C++: a pointer that may lie in shared memory wherever that is mapped.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <type_traits>

namespace vmrpc {
inline namespace v0 {
namespace detail {

/// What a pointer to T refers to; void has nothing.
template <class T>
struct Referred {
    using Reference = std::add_lvalue_reference_t<T>;
};

/// Follows a pointer as it is.
struct Unchecked {
    static std::uint64_t load(const std::uint64_t& word) { return word; }
    template <class T>
    static T* follow(T* to) {
        return to;
    }
};

/// A pointer that is stored as the distance from itself to its target: inside one segment that is the same in every
/// process. `Follow` reads it and decides what following it leads to. RelativePtr, below, is what programs use.
template <class T, class Follow>
class BasicRelativePtr {
    using Word = std::uint64_t;

  public:
    using element_type = T;
    using value_type = std::remove_cv_t<T>;
    using difference_type = std::ptrdiff_t;
    using pointer = BasicRelativePtr;
    using reference = typename Referred<T>::Reference;
    using iterator_category = std::random_access_iterator_tag;
    template <class U>
    using rebind = BasicRelativePtr<U, Follow>;

    BasicRelativePtr() noexcept = default;
    // NOLINTNEXTLINE(google-explicit-constructor): a plain pointer becomes one where it is stored, nullptr too
    BasicRelativePtr(T* to) noexcept { set(to); }
    BasicRelativePtr(const BasicRelativePtr& other) noexcept { set(other.get()); }
    template <class U>
    requires std::is_convertible_v<U*, T*>
    // NOLINTNEXTLINE(google-explicit-constructor): converts where the plain pointers do
    BasicRelativePtr(const BasicRelativePtr<U, Follow>& other)
    noexcept { set(other.get()); }
    template <class U>
    requires(!std::is_convertible_v<U*, T*>) explicit BasicRelativePtr(
        const BasicRelativePtr<U, Follow>& other) noexcept {
        set(static_cast<T*>(other.get()));
    }
    BasicRelativePtr& operator=(const BasicRelativePtr& other) noexcept {
        set(other.get());
        return *this;
    }
    BasicRelativePtr& operator=(T* to) noexcept {
        set(to);
        return *this;
    }
    ~BasicRelativePtr() = default;

    /// The plain pointer, in this process.
    [[nodiscard]] T* get() const noexcept {
        const Word stored = Follow::load(word_);
        if (stored == 0) return nullptr;
        return reinterpret_cast<T*>(here() + stored + 1);
    }

    T* operator->() const noexcept { return Follow::follow(get()); }
    reference operator*() const noexcept requires(!std::is_void_v<T>) { return *Follow::follow(get()); }
    reference operator[](difference_type index) const noexcept requires(!std::is_void_v<T>) { return *(*this + index); }
    explicit operator bool() const noexcept { return get() != nullptr; }
    bool operator!() const noexcept { return get() == nullptr; }

    BasicRelativePtr& operator+=(difference_type by) noexcept {
        set(moved(by));
        return *this;
    }
    BasicRelativePtr& operator-=(difference_type by) noexcept {
        set(moved(static_cast<difference_type>(0 - static_cast<Word>(by))));
        return *this;
    }
    BasicRelativePtr& operator++() noexcept { return *this += 1; }
    BasicRelativePtr& operator--() noexcept { return *this -= 1; }
    BasicRelativePtr operator++(int) noexcept {
        const BasicRelativePtr before(*this);
        ++*this;
        return before;
    }
    BasicRelativePtr operator--(int) noexcept {
        const BasicRelativePtr before(*this);
        --*this;
        return before;
    }
    friend BasicRelativePtr operator+(const BasicRelativePtr& pointer, difference_type by) noexcept {
        return BasicRelativePtr(pointer.moved(by));
    }
    friend BasicRelativePtr operator+(difference_type by, const BasicRelativePtr& pointer) noexcept {
        return pointer + by;
    }
    friend BasicRelativePtr operator-(const BasicRelativePtr& pointer, difference_type by) noexcept {
        return BasicRelativePtr(pointer.moved(static_cast<difference_type>(0 - static_cast<Word>(by))));
    }
    friend difference_type operator-(const BasicRelativePtr& left, const BasicRelativePtr& right) noexcept {
        const auto bytes = static_cast<difference_type>(address(left.get()) - address(right.get()));
        return bytes / static_cast<difference_type>(sizeof(T));
    }

    friend bool operator==(const BasicRelativePtr& left, const BasicRelativePtr& right) noexcept {
        return left.get() == right.get();
    }
    friend bool operator==(const BasicRelativePtr& left, std::nullptr_t) noexcept { return left.get() == nullptr; }
    friend std::strong_ordering operator<=>(const BasicRelativePtr& left, const BasicRelativePtr& right) noexcept {
        return address(left.get()) <=> address(right.get());
    }

    // What std::pointer_traits and that of Boost.Intrusive look for.
    static BasicRelativePtr pointer_to(std::conditional_t<std::is_void_v<T>, std::byte, T>& object) noexcept {
        return BasicRelativePtr(static_cast<T*>(std::addressof(object)));
    }
    template <class U>
    static BasicRelativePtr static_cast_from(const BasicRelativePtr<U, Follow>& from) noexcept {
        return BasicRelativePtr(static_cast<T*>(from.get()));
    }
    template <class U>
    static BasicRelativePtr const_cast_from(const BasicRelativePtr<U, Follow>& from) noexcept {
        return BasicRelativePtr(const_cast<T*>(from.get()));
    }

  private:
    static Word address(const volatile void* of) noexcept { return reinterpret_cast<std::uintptr_t>(of); }
    [[nodiscard]] Word here() const noexcept { return address(this); }
    void set(T* to) noexcept { word_ = to == nullptr ? 0 : address(to) - here() - 1; }
    // With numbers, not with pointers: what a peer wrote may point anywhere, and is looked at only when it is followed.
    [[nodiscard]] T* moved(difference_type by) const noexcept {
        return reinterpret_cast<T*>(address(get()) + static_cast<Word>(by) * sizeof(T));
    }

    // 0 is null, so that cleared memory is; else one less than the distance: a pointer may point to itself, but never
    // to its own second byte.
    Word word_ = 0;
};

}  // namespace detail

/// A pointer for data in the heap that holds pointers, as containers do: the distance from itself to its target, so
/// that it means the same on both sides wherever the heap is mapped, and needs no connection to be followed. It behaves
/// as T* does. Copying one writes another distance: structures that hold one are not trivially copyable. As an argument
/// or a result, and from one heap to another, use Ptr. Not checked: a server follows one only if it trusts its client
/// (see vmrpc/view.hpp for those that it does not).
template <class T>
using RelativePtr = detail::BasicRelativePtr<T, detail::Unchecked>;

}  // namespace v0
}  // namespace vmrpc
