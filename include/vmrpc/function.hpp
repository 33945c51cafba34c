// vmrpc, C++: from a function to its name and signature.
#pragma once

#include "vmrpc/error.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>

// A function that is called is never linked in. clang would refer to it from the debug information of every template
// that takes it, even if nothing else does; so what takes it has no debug information, and passes on its name instead.
#ifdef __clang__
#define VMRPC_IMPL_NODEBUG [[gnu::nodebug]]
#else
#define VMRPC_IMPL_NODEBUG
#endif

namespace vmrpc {
inline namespace v0 {

/// A string as a template argument.
template <std::size_t kBytes>
struct FixedString {
    std::array<char, kBytes> text{};
    constexpr FixedString() = default;
    // NOLINTNEXTLINE(*-avoid-c-arrays,google-explicit-constructor): what a string literal is
    constexpr FixedString(const char (&literal)[kBytes]) { std::copy_n(literal, kBytes, text.begin()); }
    [[nodiscard]] constexpr std::string_view view() const { return {text.data(), kBytes - 1}; }
    constexpr auto operator<=>(const FixedString&) const = default;
};

/// A function by a name and signature of the user's own, for what has no name that another program could know, or to
/// keep a name when a C++ function is renamed:
///     constexpr auto kMean = vmrpc::named<"stats.mean", double(std::span<const double>)>;
///     server.add<kMean>(lambda);  client.call<kMean>(values);
/// `kSchema`, if not 0, is part of the signature: change it when the layout of a type changes.
template <FixedString kName, class Signature, std::uint32_t kSchema = 0>
struct Named {};
template <FixedString kName, class Signature, std::uint32_t kSchema = 0>
inline constexpr Named<kName, Signature, kSchema> named{};

namespace detail {

template <class T>
struct SignatureOf;
template <class R, class... A>
struct SignatureOf<R (*)(A...)> {
    using Type = R(A...);
};
template <class R, class... A>
struct SignatureOf<R (*)(A...) noexcept> {
    using Type = R(A...);
};

template <class T>
inline constexpr bool kIsNamed = false;
template <FixedString kName, class Signature, std::uint32_t kSchema>
inline constexpr bool kIsNamed<Named<kName, Signature, kSchema>> = true;

/// The qualified name between "= " and the end of what the compiler calls this instance: "[with auto kFunction =
/// ns::mean]" (g++), "[kFunction = &ns::mean]" (clang++).
consteval std::string_view name_in(std::string_view instance) {
    instance.remove_prefix(instance.find(" = ") + 3);
    if (instance.starts_with('&')) instance.remove_prefix(1);
    return instance.substr(0, instance.rfind(']'));
}
template <auto kFunction>
VMRPC_IMPL_NODEBUG consteval auto raw_name() {
    return name_in(__PRETTY_FUNCTION__);
}

/// A name that means the same function in every program; the checks are apart, so that each has its own message.
consteval bool is_external(std::string_view name) {
    return name.find("anonymous") == std::string_view::npos && name.find("unnamed") == std::string_view::npos;
}
consteval bool is_plain(std::string_view name) {
    return name.find('<') == std::string_view::npos;
}

template <auto kFunction>
VMRPC_IMPL_NODEBUG consteval auto fixed_name() {
    constexpr std::string_view kRaw = raw_name<kFunction>();
    static_assert(
        is_external(kRaw),
        "vmrpc: a function in an anonymous namespace has no name that another program could call: move it to a "
        "named namespace, or name it with vmrpc::named");
    static_assert(is_plain(kRaw),
                  "vmrpc: an instance of a function template has no portable name: name it with vmrpc::named");
    FixedString<kRaw.size() + 1> name;
    std::copy(kRaw.begin(), kRaw.end(), name.text.begin());
    return name;
}

/// What call<>, add<> and require<> make of their template argument; from here on the function itself is out of sight.
template <auto kFunction>
VMRPC_IMPL_NODEBUG consteval auto described() {
    using Given = std::remove_cvref_t<decltype(kFunction)>;
    if constexpr (kIsNamed<Given>) {
        return kFunction;
    } else {
        static_assert(std::is_pointer_v<Given> && std::is_function_v<std::remove_pointer_t<Given>>,
                      "vmrpc: call<>, add<> and require<> take a function, or vmrpc::named");
        return Named<fixed_name<kFunction>(), typename SignatureOf<Given>::Type>{};
    }
}

}  // namespace detail
}  // namespace v0
}  // namespace vmrpc
