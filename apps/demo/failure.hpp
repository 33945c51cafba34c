// How the demo fails: with one sentence for the user.
#pragma once

#include <vmrpc/vmrpc.hpp>

#include <fmt/format.h>

#include <cstring>
#include <stdexcept>
#include <string_view>
#include <type_traits>
#include <utility>

namespace demo {

/// What went wrong, and what to do about it.
class Failure : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

/// A failed system call: "what: No such file or directory".
inline Failure system_failure(std::string_view what, int error) {
    return Failure(
        fmt::format("{}: {}", what, std::strerror(error)));  // NOLINT(concurrency-mt-unsafe): glibc's is safe
}

/// The value of a result, or a Failure that says what was tried.
template <class T>
T must(vmrpc::Result<T> result, std::string_view trying) {
    if (!result) throw Failure(fmt::format("{}: {}", trying, result.error().message()));
    if constexpr (!std::is_void_v<T>) return *std::move(result);
}

}  // namespace demo
