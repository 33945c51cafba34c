// Errors are values: every function of the library that can fail returns Result<T>.
#pragma once

#include <vmrpc/status.h>

#include <tl/expected.hpp>

#include <cstdint>
#include <string>
#include <utility>

namespace vmrpc::base {

/// A failure: its status (which carries the remedy) and a text that says what was wrong, with the value, and what to
/// do.
struct Error {
    vmrpc_status status = VMRPC_OK;
    std::string text;
};

template <class T>
using Result = tl::expected<T, Error>;

using Status = Result<void>;

inline tl::unexpected<Error> fail(vmrpc_status status, std::string text) {
    return tl::unexpected<Error>(Error{status, std::move(text)});
}

/// Statuses have three digits, of which the first is the remedy.
inline constexpr std::uint32_t kLastStatus = 499;

/// What a peer says that it failed or refused with; VMRPC_POISONED if that cannot be a status, or is none of a failure.
constexpr vmrpc_status failure_from_peer(std::uint32_t status) {
    return status != VMRPC_OK && status <= kLastStatus ? static_cast<vmrpc_status>(status) : VMRPC_POISONED;
}

/// A failed system call: `what` says what was tried, errno's text is added, and the status follows errno.
tl::unexpected<Error> fail_errno(const std::string& what, int error_number);

}  // namespace vmrpc::base

/// Leaves the enclosing function with the error of `expression`, if it has one.
#define VMRPC_TRY(expression)                                                                 \
    do {                                                                                      \
        if (auto&& vmrpc_try_result = (expression); !vmrpc_try_result)                        \
            return tl::unexpected<::vmrpc::base::Error>(std::move(vmrpc_try_result).error()); \
    } while (false)
