// Options structs of the C API: read with their size, so that they can grow.
#pragma once

#include "base/result.hpp"

#include <fmt/format.h>

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

}  // namespace vmrpc
