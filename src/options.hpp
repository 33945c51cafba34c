// Options structs of the C API: read with their size, so that they can grow.
#pragma once

#include "base/result.hpp"

#include <vmrpc/vmrpc.h>

#include <fmt/format.h>

#include <cstdint>
#include <cstring>

namespace vmrpc {

/// The options given, or all zero for NULL. Every version of a struct so far has one size.
/// Errors: VMRPC_BAD_ARGUMENT, if `struct_bytes` is no size that this library knows.
template <class Options>
base::Result<Options> read_options(const Options* given, const char* name) {
    Options options;
    std::memset(&options, 0, sizeof options);
    if (given == nullptr) return options;
    if (given->struct_bytes != sizeof options)
        return base::fail(VMRPC_BAD_ARGUMENT,
                          fmt::format("{}.struct_bytes is {}; set it to sizeof({}), which is {} in this library", name,
                                      given->struct_bytes, name, sizeof options));
    return *given;
}

/// The limit of a call with such options, where the connection's default is `default_ns`; 0: none.
/// Errors: VMRPC_BAD_ARGUMENT as read_options(), VMRPC_TIMED_OUT (it has passed).
inline base::Result<std::int64_t> read_limit(const vmrpc_call_options* given, std::int64_t default_ns) {
    if (given == nullptr) return default_ns;
    auto options = read_options(given, "vmrpc_call_options");
    VMRPC_TRY(options);
    if (options->limit_ns < 0) return base::fail(VMRPC_TIMED_OUT, "the time limit had passed before the call");
    if (options->limit_ns == 0) return default_ns;
    return options->limit_ns == VMRPC_NO_LIMIT ? 0 : options->limit_ns;
}

}  // namespace vmrpc
