// Results whose failure ends the benchmark.
#pragma once

#include <vmrpc/vmrpc.hpp>

#include <stdexcept>
#include <type_traits>
#include <utility>

namespace vmrpc::bench {

[[noreturn, gnu::cold, gnu::noinline]] inline void give_up(Error error) {
    throw std::runtime_error(error.message());
}

/// A Result's value; what went wrong becomes an exception. By reference, and inlined: it is timed with the call.
template <class T>
T must(Result<T>&& result) {
    if (!result) [[unlikely]]
        give_up(std::move(result).error());
    if constexpr (!std::is_void_v<T>) return *std::move(result);
}

}  // namespace vmrpc::bench
