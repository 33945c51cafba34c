// vmrpc, C++: how each type of argument travels, and the typed stub of a signature.
#pragma once

#include "vmrpc/data.hpp"
#include "vmrpc/function.hpp"

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

namespace vmrpc {
inline namespace v0 {
namespace detail {

template <class T>
constexpr vmrpc_impl_argument describe(vmrpc_impl_category category, unsigned flags = 0) {
    return {static_cast<std::uint16_t>(category), static_cast<std::uint16_t>(flags), sizeof(T), alignof(T)};
}

template <class T>
inline constexpr bool kIsView = false;
template <class T, std::size_t kExtent>
inline constexpr bool kIsView<std::span<T, kExtent>> = true;
template <>
inline constexpr bool kIsView<std::string_view> = true;
template <class Span>
inline constexpr bool kIsView<InPlace<Span>> = true;

/// Arguments that are the caller's own, and good for one call; see callback.hpp.
template <class T>
inline constexpr bool kIsLent = false;

/// A parameter of type P: its descriptor; Packed, what its entry in the array of arguments points to while it is
/// called; and unpack, which makes the parameter of such an entry in the server.
template <class P>
struct Parameter {
    static_assert(Plain<P>,
                  "vmrpc: an argument is a trivially copyable type, a reference to one, std::span, std::string_view, "
                  "vmrpc::Ptr, or a pointer into the heap");
    static_assert(!kIsView<P>, "vmrpc: a span of an argument has a dynamic extent");
    static constexpr auto kDescriptor = describe<P>(VMRPC_IMPL_VALUE);
    struct Packed {
        P value;
        Packed(vmrpc_connection* /*connection*/, P given) : value(given) {}
        void* entry() { return std::addressof(value); }
    };
    static P unpack(void* entry) { return *static_cast<P*>(entry); }
};

template <Plain T>
struct Parameter<const T&> : Parameter<T> {};

template <Plain T>
struct Parameter<T&> {
    static_assert(!kIsView<T>, "vmrpc: take a span or a std::string_view by value: the function cannot change which");
    static constexpr auto kDescriptor = describe<T>(VMRPC_IMPL_INOUT);
    struct Packed {
        T* object;
        Packed(vmrpc_connection* /*connection*/, T& given) : object(std::addressof(given)) {}
        void* entry() { return object; }
    };
    static T& unpack(void* entry) { return *static_cast<T*>(entry); }
};

template <class Span, class T, unsigned kFlags>
struct SpanParameter {
    using Element = std::remove_const_t<T>;
    static_assert(Plain<Element>, "vmrpc: elements of a span must be trivially copyable");
    static constexpr auto kDescriptor =
        describe<Element>(std::is_const_v<T> ? VMRPC_IMPL_SPAN : VMRPC_IMPL_SPAN_INOUT,
                          kFlags | (std::is_arithmetic_v<Element> ? VMRPC_IMPL_ARITHMETIC : 0U));
    struct Packed {
        vmrpc_impl_span span;
        Packed(vmrpc_connection* /*connection*/, const Span& given)
            : span{const_cast<Element*>(given.data()), given.size()} {}
        void* entry() { return &span; }
    };
    static Span unpack(void* entry) {
        const auto& span = *static_cast<const vmrpc_impl_span*>(entry);
        return Span(static_cast<T*>(span.data), span.count);
    }
};
template <class T>
struct Parameter<std::span<T>> : SpanParameter<std::span<T>, T, 0> {};
template <>
struct Parameter<std::string_view> : SpanParameter<std::string_view, const char, 0> {};
template <class T>
struct Parameter<InPlace<std::span<T>>> : SpanParameter<InPlace<std::span<T>>, T, VMRPC_IMPL_IN_PLACE> {};
template <>
struct Parameter<InPlace<std::string_view>>
    : SpanParameter<InPlace<std::string_view>, const char, VMRPC_IMPL_IN_PLACE> {};

template <class T>
struct Parameter<T*> {
    static constexpr auto kDescriptor = describe<T>(VMRPC_IMPL_POINTER);
    struct Packed {
        void* pointer;
        Packed(vmrpc_connection* /*connection*/, T* given) : pointer(const_cast<std::remove_const_t<T>*>(given)) {}
        void* entry() { return &pointer; }
    };
    static T* unpack(void* entry) { return *static_cast<T**>(entry); }
};

template <class T>
struct Parameter<Ptr<T>> {
    static constexpr auto kDescriptor = describe<T>(VMRPC_IMPL_POINTER);
    struct Packed {
        void* pointer;
        Packed(vmrpc_connection* connection, Ptr<T> given) : pointer(given.get_from(connection)) {}
        void* entry() { return &pointer; }
    };
    static Ptr<T> unpack(void* entry) { return Ptr<T>::to(*static_cast<T**>(entry)); }
};

/// A result of type R: its descriptor; Raw, what the library writes it to and reads it from.
template <class R>
struct Returned {
    static_assert(
        Plain<R> && !std::is_pointer_v<R> && !kIsView<R>,
        "vmrpc: a result is void, a trivially copyable type, a vmrpc::Array or a vmrpc::Owned, which own what they "
        "hand over; neither a pointer nor a view");
    static constexpr auto kDescriptor = describe<R>(VMRPC_IMPL_VALUE);
    struct alignas(R) Raw {
        std::array<std::byte, sizeof(R)> bytes;
    };
    static R take(const Raw& raw, const ConnectionHold& /*connection*/) { return std::bit_cast<R>(raw); }
    static void put(void* to, const R& value) { std::memcpy(to, std::addressof(value), sizeof value); }
};
template <>
struct Returned<void> {
    static constexpr vmrpc_impl_argument kDescriptor{};
};
template <class T>
struct Returned<Array<T>> {
    static constexpr auto kDescriptor = describe<T>(VMRPC_IMPL_BLOCK);
    using Raw = vmrpc_impl_span;
    static Array<T> take(const Raw& raw, const ConnectionHold& connection) { return Array<T>(connection, raw); }
    static void put(void* to, Array<T> value) {
        const vmrpc_block block = value.release();
        std::memcpy(to, &block, sizeof block);
    }
};

template <class T>
struct Returned<Owned<T>> {
    static constexpr auto kDescriptor = describe<T>(VMRPC_IMPL_BLOCK);
    using Raw = vmrpc_impl_span;
    static Owned<T> take(const Raw& raw, const ConnectionHold& connection) {
        // The client trusts its server, but not that it has the same function in mind: an object has all its bytes.
        return Owned<T>(connection, raw.count == 0 ? nullptr : static_cast<T*>(raw.data));
    }
    static void put(void* to, Owned<T> value) {
        const std::size_t count = value ? 1 : 0;
        const vmrpc_block block{value.release(), count};
        std::memcpy(to, &block, sizeof block);
    }
};

template <class Description>
struct Stub;

/// The stub of one function: its declaration, the call, and the dispatch to a callable.
template <FixedString kName, class R, class... A, std::uint32_t kSchema>
struct Stub<Named<kName, R(A...), kSchema>> {
    static_assert(sizeof...(A) <= VMRPC_IMPL_MAX_ARGUMENTS, "vmrpc: too many arguments: pass a struct");
    using Result = v0::Result<R>;
    using Value = R;
    static constexpr bool kLends = (false || ... || kIsLent<A>);

    static constexpr std::array<vmrpc_impl_argument, sizeof...(A) + 1> kArguments{Parameter<A>::kDescriptor...,
                                                                                  vmrpc_impl_argument{}};
    static vmrpc_impl_function& declaration() {
        static vmrpc_impl_function declared{sizeof declared,   kName.text.data(),        kSchema, sizeof...(A),
                                            kArguments.data(), Returned<R>::kDescriptor, 0};
        return declared;
    }

    static Result call(const ConnectionHold& connection, const vmrpc_call_options* options, A... arguments) {
        return with_entries(
            connection.get(), [&](void* const* entries) { return call_packed(connection, options, entries); },
            static_cast<A>(arguments)...);
    }
    /// Starts a call; as vmrpc_impl_async.
    static vmrpc_status start(vmrpc_connection* connection, const vmrpc_call_options* options, vmrpc_token& token,
                              A... arguments) {
        static_assert(!kLends, "vmrpc: a callable is lent until the call returns: call it synchronously");
        return with_entries(
            connection,
            [&](void* const* entries) {
                return vmrpc_impl_async(connection, &declaration(), options, entries, &token);
            },
            static_cast<A>(arguments)...);
    }
    /// Posts a one-way call; as vmrpc_impl_post.
    static vmrpc_status post(vmrpc_connection* connection, A... arguments) {
        static_assert(!kLends, "vmrpc: a callable is lent until the call returns: call it synchronously");
        return with_entries(
            connection, [&](void* const* entries) { return vmrpc_impl_post(connection, &declaration(), entries); },
            static_cast<A>(arguments)...);
    }

    /// A vmrpc_impl_handler for a callable that `user` points to.
    template <class Callable>
    static vmrpc_status dispatch(void* user, void* const* entries, void* result, char* error_text,
                                 std::size_t error_bytes) noexcept {
        try {
            invoke(*static_cast<Callable*>(user), entries, result, std::index_sequence_for<A...>{});
            return VMRPC_OK;
        } catch (const std::exception& exception) {
            put_text(exception.what(), error_text, error_bytes);
        } catch (...) {
            put_text("the function threw something that is no std::exception", error_text, error_bytes);
        }
        return VMRPC_FUNCTION_FAILED;
    }

  private:
    /// Calls `use` with the array of what the arguments are packed into.
    template <class Use>
    static auto with_entries([[maybe_unused]] vmrpc_connection* connection, const Use& use, A... arguments) {
        std::tuple<typename Parameter<A>::Packed...> packed{
            typename Parameter<A>::Packed(connection, static_cast<A>(arguments))...};
        return std::apply(
            [&](auto&... each) {
                void* const entries[] = {each.entry()..., nullptr};  // NOLINT(*-avoid-c-arrays): the C API's
                return use(static_cast<void* const*>(entries));
            },
            packed);
    }
    static Result call_packed(const ConnectionHold& connection, const vmrpc_call_options* options,
                              void* const* entries) {
        if constexpr (std::is_void_v<R>) {
            return to_result(vmrpc_impl_call(connection.get(), &declaration(), options, entries, nullptr));
        } else {
            typename Returned<R>::Raw raw;
            if (vmrpc_impl_call(connection.get(), &declaration(), options, entries, &raw) != VMRPC_OK)
                return last_error();
            return Returned<R>::take(raw, connection);
        }
    }
    template <class Callable, std::size_t... kIndex>
    static void invoke(Callable& callable, [[maybe_unused]] void* const* entries, [[maybe_unused]] void* result,
                       std::index_sequence<kIndex...> /*indices*/) {
        if constexpr (std::is_void_v<R>)
            callable(Parameter<A>::unpack(entries[kIndex])...);
        else
            Returned<R>::put(result, callable(Parameter<A>::unpack(entries[kIndex])...));
    }
    static void put_text(std::string_view text, char* to, std::size_t bytes) { to[text.copy(to, bytes - 1)] = '\0'; }
};

/// Adds a callable, which is owned from then on: add(declaration, handler, user, release) is as vmrpc_impl_add.
template <class Stub, class Callable, class Add>
vmrpc_status add_owned(Callable callable, const Add& add) {
    auto owned = std::make_unique<Callable>(std::move(callable));
    const auto release = [](void* user) { const std::unique_ptr<Callable> ending(static_cast<Callable*>(user)); };
    const vmrpc_status status =
        add(&Stub::declaration(), &Stub::template dispatch<Callable>, static_cast<void*>(owned.get()), release);
    if (status == VMRPC_OK) static_cast<void>(owned.release());
    return status;
}

/// The whole of a text that read(text, bytes) writes, cut to that, and returns the length of.
template <class Read>
std::string whole_text(const Read& read) {
    std::string text;
    std::size_t bytes = read(nullptr, 0);
    while (bytes > text.size()) {  // it may have grown meanwhile
        text.resize(bytes);
        bytes = read(text.data(), text.size() + 1);
    }
    text.resize(bytes);
    return text;
}

/// The stub of what call<>, add<> and require<> were given.
template <auto kFunction>
VMRPC_IMPL_NODEBUG consteval auto stub_of() {
    return Stub<std::remove_cvref_t<decltype(described<kFunction>())>>{};
}

}  // namespace detail
}  // namespace v0
}  // namespace vmrpc
