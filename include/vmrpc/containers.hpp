// vmrpc, C++: containers in the heap. Needs Boost (headers only), 1.81 or later; not included by vmrpc.hpp.
//
//     // shared header
//     using Totals = vmrpc::Map<vmrpc::String, double>;
//     vmrpc::Owned<Totals> totals(vmrpc::Ptr<vmrpc::Vector<Sale>> sales);
//
//     // client
//     auto sales = client.heap().make<vmrpc::Vector<Sale>>().value();
//     sales->push_back({...});
//     auto by_name = client.call<totals>(sales.ptr()).value();   // the map that the server built, in place
//
// Both sides have to be built with the same version of Boost, and the same options of it: a container's layout is no
// part of a function's signature (vmrpc::named takes a number for that).
//
// A container's own functions follow its pointers unchecked. That is for a client, who trusts its server, and for a
// server whose client is trusted; a server that does not trust reads through vmrpc/view.hpp.
#pragma once

#include "vmrpc/allocator.hpp"

#include <boost/container/map.hpp>
#include <boost/container/string.hpp>
#include <boost/container/vector.hpp>
#include <boost/functional/hash.hpp>
#include <boost/unordered_map.hpp>

#include <cstddef>
#include <string_view>
#include <type_traits>
#include <utility>

namespace vmrpc {
inline namespace v0 {
namespace detail {

/// Keys as they are compared and hashed: texts of every type as std::string_view.
template <class T>
decltype(auto) as_key(const T& key) {
    if constexpr (std::is_convertible_v<const T&, std::string_view>)
        return std::string_view(key);
    else if constexpr (requires { std::string_view(key.data(), key.size()); })
        return std::string_view(key.data(), key.size());
    else
        return (key);
}

}  // namespace detail

/// How keys are ordered, hashed and compared. Texts by their characters, so that a lookup of std::string_view needs no
/// String. The hash is Boost's: it must be the same in both programs.
struct Less {
    using is_transparent = void;
    template <class A, class B>
    bool operator()(const A& left, const B& right) const {
        return detail::as_key(left) < detail::as_key(right);
    }
};
struct Equal {
    using is_transparent = void;
    template <class A, class B>
    bool operator()(const A& left, const B& right) const {
        return detail::as_key(left) == detail::as_key(right);
    }
};
struct Hash {
    using is_transparent = void;
    template <class T>
    std::size_t operator()(const T& key) const {
        if constexpr (std::is_same_v<std::remove_cvref_t<decltype(detail::as_key(key))>, std::string_view>) {
            const std::string_view text = detail::as_key(key);
            return boost::hash_range(text.begin(), text.end());
        } else {
            return boost::hash<T>{}(key);
        }
    }
};

/// As std::vector, std::string, std::map and std::unordered_map, in the heap: Boost's, with Allocator and RelativePtr.
/// They may be nested.
template <class T>
using Vector = boost::container::vector<T, Allocator<T>>;
using String = boost::container::basic_string<char, std::char_traits<char>, Allocator<char>>;
template <class K, class V, class Compare = Less>
using Map = boost::container::map<K, V, Compare, Allocator<std::pair<const K, V>>>;
template <class K, class V, class HashOf = Hash, class EqualTo = Equal>
using UnorderedMap = boost::unordered_map<K, V, HashOf, EqualTo, Allocator<std::pair<const K, V>>>;

}  // namespace v0
}  // namespace vmrpc
