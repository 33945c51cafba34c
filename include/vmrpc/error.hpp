// vmrpc, C++: errors are values.
#pragma once

#include "vmrpc/vmrpc.h"

#include <tl/expected.hpp>

#include <string>

namespace vmrpc {
inline namespace v0 {

/// What to do about an error.
enum class Remedy {
    kRetryLater = VMRPC_REMEDY_RETRY_LATER,
    kReconnect = VMRPC_REMEDY_RECONNECT,
    kFixTheCall = VMRPC_REMEDY_FIX_THE_CALL,
    kNotSupported = VMRPC_REMEDY_NOT_SUPPORTED,
};

/// What went wrong, with the values, and what to do.
struct Error {
    vmrpc_status status = VMRPC_OK;
    std::string text;

    [[nodiscard]] Remedy remedy() const { return static_cast<Remedy>(VMRPC_REMEDY(status)); }
    /// "VMRPC_NO_SERVER: nobody listens at ..."
    [[nodiscard]] std::string message() const { return std::string(VMRPC_STATUS_NAME(status)) + ": " + text; }
};

/// A value, or an Error.
template <class T>
using Result = tl::expected<T, Error>;

namespace detail {

/// The error of this thread's last failed C call. Not inlined: failing takes registers and code from succeeding.
[[gnu::cold, gnu::noinline]] inline tl::unexpected<Error> last_error() {
    return tl::unexpected<Error>(Error{VMRPC_LAST_STATUS(), VMRPC_LAST_ERROR_TEXT()});
}
inline Result<void> to_result(vmrpc_status status) {
    if (status != VMRPC_OK) [[unlikely]]
        return last_error();
    return {};
}

}  // namespace detail
}  // namespace v0
}  // namespace vmrpc
