// vmrpc, C++: how view.hpp goes through a container that its owner may change at any time. Not for direct use.
//
// A Vector's or a String's header is copied into private memory and then asked, through its public functions, for
// bounds. Node containers are read in place through a type of the same layout whose pointers look where they lead
// before they are followed: one that leads outside leads to zeros instead, as Boost's functions cannot fail, and the
// walk ends at the next look at lost(). Only functions of Boost's that take a fixed number of steps are used; the loops
// are here.
#pragma once

#include "vmrpc/containers.hpp"

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

namespace vmrpc {
inline namespace v0 {

/// What one visit() or copy_out() may cost, everything nested included.
struct WalkBudget {
    std::size_t steps = 1'000'000;                      ///< elements, nodes and buckets looked at
    std::size_t bytes = std::size_t{64} * 1024 * 1024;  ///< copied to private memory
};

namespace detail {

/// Ends a walk; never leaves it.
struct Refused {
    Error error;
};

/// One walk through a container of the connection whose memory is `memory`.
class Walk {
  public:
    Walk(const vmrpc_impl_span& memory, bool is_trusted, const WalkBudget& budget)
        : memory_(memory),
          is_trusted_(is_trusted),
          budget_(budget),
          left_(budget),
          outer_(std::exchange(current(), this)) {}
    Walk(const Walk&) = delete;
    Walk& operator=(const Walk&) = delete;
    ~Walk() { current() = outer_; }

    /// The innermost one on this thread.
    static Walk*& current() {
        static thread_local Walk* walk = nullptr;
        return walk;
    }

    [[nodiscard]] bool is_trusted() const { return is_trusted_; }
    [[nodiscard]] bool holds(const void* at, std::size_t bytes, std::size_t alignment) const noexcept {
        const std::uintptr_t address = reinterpret_cast<std::uintptr_t>(at);
        const std::uintptr_t offset = address - reinterpret_cast<std::uintptr_t>(memory_.data);
        return offset <= memory_.count && bytes <= memory_.count - offset && address % alignment == 0;
    }
    /// `count` elements that lie in the memory.
    template <class T>
    [[nodiscard]] std::span<const T> elements(const void* at, std::size_t count) const {
        std::size_t bytes = 0;
        if (__builtin_mul_overflow(count, sizeof(T), &bytes) || !holds(at, bytes, alignof(T)))
            refuse_outside(at, count, sizeof(T), alignof(T));
        return {static_cast<const T*>(at), count};
    }

    void step() {
        if (left_.steps-- == 0)
            throw Refused{{VMRPC_BAD_ARGUMENT, "a container takes more than " + std::to_string(budget_.steps) +
                                                   " steps: it is larger than the budget (WalkBudget::steps), or its "
                                                   "pointers go in a circle"}};
    }
    void spend(std::size_t bytes) {
        if (bytes > left_.bytes)
            throw Refused{{VMRPC_BAD_ARGUMENT, "a copy of a container takes more than " +
                                                   std::to_string(budget_.bytes) +
                                                   " bytes: raise WalkBudget::bytes, or read less of it"}};
        left_.bytes -= bytes;
    }

    /// A pointer was followed that leads outside.
    void lose(const void* to) noexcept {
        is_lost_ = true;
        lost_at_ = to;
    }
    /// To be called after whatever follows pointers, before what came of it is used.
    void check() const {
        if (is_lost_) refuse_outside(lost_at_, 1, 0, 0);
    }

  private:
    [[noreturn]] static void refuse_outside(const void* at, std::size_t count, std::size_t bytes,
                                            std::size_t alignment) {
        std::string what =
            bytes == 0 ? "a node" : std::to_string(count) + " elements of " + std::to_string(bytes) + " bytes";
        what += " at " + std::to_string(reinterpret_cast<std::uintptr_t>(at));
        if (alignment != 0) what += " (alignment " + std::to_string(alignment) + ")";
        throw Refused{
            {VMRPC_OUTSIDE_HEAP, "a container's pointer leads to " + what +
                                     ", which does not lie in the connection's heap, whole and aligned: it was "
                                     "changed meanwhile, or is none"}};
    }

    vmrpc_impl_span memory_;
    bool is_trusted_;
    WalkBudget budget_;
    WalkBudget left_;
    Walk* outer_;
    bool is_lost_ = false;
    const void* lost_at_ = nullptr;
};

/// Runs `body(walk)` for a container of this process's connections, and makes of what it refuses an error.
template <class R, class Container, class Body>
Result<R> guarded_walk(const Container* container, const WalkBudget& budget, Body&& body) {
    if (container == nullptr) return tl::unexpected<Error>(Error{VMRPC_BAD_ARGUMENT, "the container is null"});
    vmrpc_impl_span memory{nullptr, 0};
    vmrpc_connection* const connection = vmrpc_impl_connection_of(container, &memory);
    Walk walk(memory, vmrpc_impl_is_trusted(connection) != 0, budget);
    try {
        static_cast<void>(walk.elements<Container>(container, 1));
        if constexpr (std::is_void_v<R>) {
            body(walk);
            return {};
        } else {
            return body(walk);
        }
    } catch (const Refused& refused) {
        return tl::unexpected<Error>(refused.error);
    } catch (const std::bad_alloc&) {
        return tl::unexpected<Error>(Error{VMRPC_OUT_OF_RESOURCES, "no private memory to copy a container to"});
    }
}

/// The bytes of a container itself, copied once; its pointers, moved with it, point as far away from where they lead as
/// this is from the original.
template <class Container>
class PrivateHeader {
  public:
    explicit PrivateHeader(const Container& shared) : moved_by_(address(&shared) - address(bytes_.data())) {
        std::memcpy(bytes_.data(), std::addressof(shared), sizeof shared);
        asm volatile("" : : "r"(bytes_.data()) : "memory");  // never read there again
    }
    PrivateHeader(const PrivateHeader&) = delete;
    PrivateHeader& operator=(const PrivateHeader&) = delete;
    ~PrivateHeader() = default;

    const Container* operator->() const { return reinterpret_cast<const Container*>(bytes_.data()); }
    /// Whether an address lies in the copy, as the characters of a short String do.
    [[nodiscard]] bool holds(const void* at) const { return address(at) - address(bytes_.data()) < sizeof(Container); }
    /// How many bytes there are from `at`, which it holds, to its end.
    [[nodiscard]] std::size_t bytes_from(const void* at) const {
        return address(bytes_.data()) + sizeof(Container) - address(at);
    }
    /// What a pointer of the copy's means in the original.
    [[nodiscard]] const void* original(const void* at) const {
        return reinterpret_cast<const void*>(address(at) + moved_by_);
    }

  private:
    static std::uintptr_t address(const void* of) { return reinterpret_cast<std::uintptr_t>(of); }

    alignas(Container) std::array<std::byte, sizeof(Container)> bytes_;
    std::uintptr_t moved_by_;
};

inline void check_size(std::size_t size, std::size_t capacity) {
    if (size > capacity)
        throw Refused{{VMRPC_BAD_ARGUMENT, "a container says that it has " + std::to_string(size) +
                                               " elements in room for " + std::to_string(capacity) +
                                               ": it was changed meanwhile, or is none"}};
}

template <class T, class A>
std::span<const T> elements_of(const Walk& walk, const boost::container::vector<T, A>& shared) {
    const PrivateHeader header(shared);
    check_size(header->size(), header->capacity());
    if (header->size() == 0) return {};
    return walk.elements<T>(header.original(header->data()), header->size());
}

/// In the heap, or, if the text is short, in the header.
template <class A>
std::span<const char> characters_of(
    const Walk& walk, const PrivateHeader<boost::container::basic_string<char, std::char_traits<char>, A>>& header) {
    const char* const data = header->data();
    if (!header.holds(data)) {
        check_size(header->size(), header->capacity());
        return walk.elements<char>(header.original(data), header->size());
    }
    check_size(header->size(), header.bytes_from(data));
    return {data, header->size()};
}

template <class View, class T>
View seen(const Walk& walk, std::span<const T> elements) {
    const bool is_large_and_harmless = elements.size_bytes() > VMRPC_IMPL_SNAPSHOT_BYTES && std::is_arithmetic_v<T>;
    if (walk.is_trusted() || is_large_and_harmless) return View(elements);
    return View(std::vector<T>(elements.begin(), elements.end()));
}

/// Leads pointers that leave the memory of the walk to zeros, which are null pointers.
struct Checked {
    /// Once: what a peer changes meanwhile is not to be seen twice.
    static std::uint64_t load(const volatile std::uint64_t& word) { return word; }
    template <class T>
    static T* follow(T* to) noexcept {
        Walk& walk = *Walk::current();
        if (walk.holds(to, sizeof(T), alignof(T))) return to;
        walk.lose(to);
        alignas(T) static std::array<std::byte, sizeof(T)> zeros{};  // never written
        return reinterpret_cast<T*>(zeros.data());
    }
};

/// A's layout, with pointers that are checked. Of containers that are only read.
template <class T, class A>
class CheckedAllocator : public std::allocator_traits<A>::template rebind_alloc<T> {
  public:
    using value_type = T;
    using pointer = BasicRelativePtr<T, Checked>;
    using const_pointer = BasicRelativePtr<const T, Checked>;
    using void_pointer = BasicRelativePtr<void, Checked>;
    using const_void_pointer = BasicRelativePtr<const void, Checked>;
    template <class U>
    struct rebind {
        using other = CheckedAllocator<U, A>;
    };
};

/// `shared` as a type of the same layout. The compiler is not to know that they are one object.
template <class To, class From>
const To& read_as(const From& shared) {
    static_assert(sizeof(To) == sizeof(From) && alignof(To) == alignof(From));
    const void* at = std::addressof(shared);
    asm volatile("" : "+r"(at) : : "memory");
    return *static_cast<const To*>(at);
}

/// The node after `at` in the order of the keys. As the usual algorithm, but each loop counts its steps.
template <class Node>
Node next_node(Walk& walk, Node at) {
    const auto went = [&walk](Node from, Node& (Node::*go)()) {
        (from.*go)();
        walk.check();
        return from;
    };
    if (Node below = went(at, &Node::go_right); !!below) {
        for (; !!below; below = went(below, &Node::go_left)) {
            walk.step();
            at = below;
        }
        return at;
    }
    Node above = went(at, &Node::go_parent);
    while (at == went(above, &Node::go_right)) {
        walk.step();
        at = above;
        above = went(above, &Node::go_parent);
    }
    return went(at, &Node::go_right) != above ? above : at;
}

template <class K, class V, class C, class A, class Function>
void each_element(Walk& walk, const boost::container::map<K, V, C, A>& shared, Function&& function) {
    using Map = boost::container::map<K, V, C, CheckedAllocator<std::pair<const K, V>, A>>;
    using Iterator = typename Map::const_iterator;
    const auto& map = read_as<Map>(shared);
    const auto end = map.cend().get();
    for (auto at = map.cbegin().get(); at != end; at = next_node(walk, at)) {
        walk.step();
        const auto& element = *Iterator(at);
        walk.check();
        function(element);
    }
}

template <class K, class V, class H, class E, class A, class Function>
void each_element(Walk& walk, const boost::unordered_map<K, V, H, E, A>& shared, Function&& function) {
    using Map = boost::unordered_map<K, V, H, E, CheckedAllocator<std::pair<const K, V>, A>>;
    const auto& map = read_as<Map>(shared);
    const std::size_t buckets = map.bucket_count();
    for (std::size_t bucket = 0; bucket < buckets; ++bucket) {
        walk.step();
        for (auto at = map.cbegin(bucket); at != map.cend(bucket); ++at) {
            walk.step();
            const auto& element = *at;
            walk.check();
            function(element);
        }
        walk.check();
    }
}

template <class T>
inline constexpr bool kIsMap = false;
template <class K, class V, class C, class A>
inline constexpr bool kIsMap<boost::container::map<K, V, C, A>> = true;
template <class K, class V, class H, class E, class A>
inline constexpr bool kIsMap<boost::unordered_map<K, V, H, E, A>> = true;

/// The private type of T, and how a copy of it is made.
template <class T>
struct PrivateOf {
    static_assert(Plain<T>,
                  "vmrpc: what is copied out is plain data, or a container of vmrpc/containers.hpp of such types");
    using Type = T;
    static Type of(Walk& walk, const T& shared) {
        walk.spend(sizeof(T));
        alignas(T) std::array<std::byte, sizeof(T)> bytes;
        std::memcpy(bytes.data(), std::addressof(shared), sizeof(T));
        asm volatile("" : : "r"(bytes.data()) : "memory");
        return std::bit_cast<T>(bytes);
    }
};

template <class A>
struct PrivateOf<boost::container::basic_string<char, std::char_traits<char>, A>> {
    using Type = std::string;
    static Type of(Walk& walk, const boost::container::basic_string<char, std::char_traits<char>, A>& shared) {
        const PrivateHeader header(shared);
        const auto characters = characters_of(walk, header);
        walk.spend(characters.size());
        return {characters.begin(), characters.end()};
    }
};

template <class T, class A>
struct PrivateOf<boost::container::vector<T, A>> {
    using Type = std::vector<typename PrivateOf<T>::Type>;
    static Type of(Walk& walk, const boost::container::vector<T, A>& shared) {
        const auto elements = elements_of(walk, shared);
        Type made;
        if constexpr (Plain<T>) {
            walk.spend(elements.size_bytes());
            made.assign(elements.begin(), elements.end());
        } else {
            for (const T& element : elements) {
                walk.step();
                made.push_back(PrivateOf<T>::of(walk, element));
            }
        }
        return made;
    }
};

/// Of maps: `Made` of ours.
template <class Container, class Made>
struct PrivateMap {
    using Type = Made;
    static Type of(Walk& walk, const Container& shared) {
        Type made;
        each_element(walk, shared, [&](const auto& element) {
            made.emplace(PrivateOf<typename Container::key_type>::of(walk, element.first),
                         PrivateOf<typename Container::mapped_type>::of(walk, element.second));
        });
        return made;
    }
};
template <class K, class V, class C, class A>
struct PrivateOf<boost::container::map<K, V, C, A>>
    : PrivateMap<boost::container::map<K, V, C, A>,
                 std::map<typename PrivateOf<K>::Type, typename PrivateOf<V>::Type, C>> {};
template <class K, class V, class H, class E, class A>
struct PrivateOf<boost::unordered_map<K, V, H, E, A>>
    : PrivateMap<boost::unordered_map<K, V, H, E, A>,
                 std::unordered_map<typename PrivateOf<K>::Type, typename PrivateOf<V>::Type, H, E>> {};

}  // namespace detail
}  // namespace v0
}  // namespace vmrpc
