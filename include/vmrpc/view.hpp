// vmrpc, C++: containers of a client that the server does not trust.
//
// The client can change every word of a container at any time, its pointers too. What is here reads each of them once,
// into private memory, checks it there, and only then goes on: view() for a Vector or a String, whose bounds are then
// fixed; visit() and copy_out() for all, step by step, as checking a tree ahead proves nothing against a client that
// changes it afterwards. They work for trusted clients and in clients too. Nothing here blocks, and the sizes of the
// budget bound how long it takes.
#pragma once

#include "vmrpc/containers.hpp"
#include "vmrpc/walk.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace vmrpc {
inline namespace v0 {

/// The elements of a Vector or a String: their number does not change any more, and all lie in the heap. If is_copy(),
/// neither do their values: they are private. Otherwise they lie where they are, and who is not trusted may still
/// change them: read each once.
template <class T>
class View {
  public:
    View() = default;
    explicit View(std::span<const T> in_place) : elements_(in_place) {}
    explicit View(std::vector<T> copy) : copy_(std::move(copy)), elements_(copy_), is_copy_(true) {}
    View(View&&) noexcept = default;  // a vector that is moved keeps its elements where they are
    View& operator=(View&&) noexcept = default;
    View(const View&) = delete;
    View& operator=(const View&) = delete;
    ~View() = default;

    [[nodiscard]] std::span<const T> span() const { return elements_; }
    [[nodiscard]] std::size_t size() const { return elements_.size(); }
    [[nodiscard]] bool empty() const { return elements_.empty(); }
    [[nodiscard]] const T& operator[](std::size_t index) const { return elements_[index]; }
    [[nodiscard]] auto begin() const { return elements_.begin(); }
    [[nodiscard]] auto end() const { return elements_.end(); }
    [[nodiscard]] std::string_view text() const requires std::is_same_v<T, char> {
        return {elements_.data(), elements_.size()};
    }
    [[nodiscard]] bool is_copy() const { return is_copy_; }

  private:
    std::vector<T> copy_;
    std::span<const T> elements_;
    bool is_copy_ = false;
};

/// The elements of a Vector of plain data, or the characters of a String. As with spans that are arguments, what comes
/// from a client that is not trusted is copied, once, unless it is numbers (characters are) of more than 16 KiB.
/// `container` may be an argument of the function, or lie anywhere in the heap of the call being served, or in that of
/// a client of this process. Errors: VMRPC_OUTSIDE_HEAP (the container, or its elements, do not lie in that heap whole
/// and aligned), VMRPC_BAD_ARGUMENT (null, or a size that exceeds the capacity), VMRPC_OUT_OF_RESOURCES (no room for
/// the copy).
template <class T, class A>
[[nodiscard]] Result<View<T>> view(const boost::container::vector<T, A>* container) {
    static_assert(Plain<T>, "vmrpc: elements that hold pointers are read with visit() or copy_out()");
    return detail::guarded_walk<View<T>>(container, WalkBudget{}, [&](detail::Walk& walk) {
        return detail::seen<View<T>>(walk, detail::elements_of(walk, *container));
    });
}
template <class A>
[[nodiscard]] Result<View<char>> view(const boost::container::basic_string<char, std::char_traits<char>, A>* text) {
    return detail::guarded_walk<View<char>>(text, WalkBudget{}, [&](detail::Walk& walk) {
        const detail::PrivateHeader header(*text);
        const auto characters = detail::characters_of(walk, header);
        if (header.holds(characters.data())) return View<char>(std::vector<char>(characters.begin(), characters.end()));
        return detail::seen<View<char>>(walk, characters);
    });
}
/// The same for an argument.
template <class Container>
[[nodiscard]] auto view(Ptr<Container> container) {
    return view(static_cast<const Container*>(container.get()));
}

/// What copy_out() makes of a type: std::vector, std::string, std::map and std::unordered_map of ours, nested ones too,
/// and of plain data itself.
template <class T>
using Private = typename detail::PrivateOf<T>::Type;

/// Calls `function(const Private<K>&, const Private<V>&)` with a private copy of each element of a Map, in its order,
/// or of an UnorderedMap. What a client changes meanwhile may or may not be seen, and elements may come twice or out of
/// order if it does. Errors: VMRPC_OUTSIDE_HEAP (a pointer leads outside of the heap, or is not aligned),
/// VMRPC_BAD_ARGUMENT (null; the budget does not suffice, which a cycle always comes to), VMRPC_OUT_OF_RESOURCES
/// (memory, the function's too). After an error, the function was called with the elements before it. What else it
/// throws goes on to the caller.
template <class Container, class Function>
requires detail::kIsMap<Container>
[[nodiscard]] Result<void> visit(const Container* container, Function&& function, const WalkBudget& budget = {}) {
    return detail::guarded_walk<void>(container, budget, [&](detail::Walk& walk) {
        detail::each_element(walk, *container, [&](const auto& element) {
            const Private<typename Container::key_type> key =
                detail::PrivateOf<typename Container::key_type>::of(walk, element.first);
            const Private<typename Container::mapped_type> value =
                detail::PrivateOf<typename Container::mapped_type>::of(walk, element.second);
            function(key, value);
        });
    });
}
template <class Container, class Function>
[[nodiscard]] Result<void> visit(Ptr<Container> container, Function&& function, const WalkBudget& budget = {}) {
    return visit(static_cast<const Container*>(container.get()), std::forward<Function>(function), budget);
}

/// A private copy of a container, whatever is nested in it. Errors: as visit().
template <class Container>
[[nodiscard]] Result<Private<Container>> copy_out(const Container* container, const WalkBudget& budget = {}) {
    return detail::guarded_walk<Private<Container>>(
        container, budget, [&](detail::Walk& walk) { return detail::PrivateOf<Container>::of(walk, *container); });
}
template <class Container>
[[nodiscard]] auto copy_out(Ptr<Container> container, const WalkBudget& budget = {}) {
    return copy_out(static_cast<const Container*>(container.get()), budget);
}

}  // namespace v0
}  // namespace vmrpc
