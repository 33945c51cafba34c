// The border of the library: no exception crosses it.
#pragma once

#include "last_error.hpp"

#include <exception>
#include <new>

namespace vmrpc {

/// Runs a body that returns a Status, or the status that one became; what it throws (out of memory, mostly) becomes
/// VMRPC_OUT_OF_RESOURCES.
template <class Body>
vmrpc_status guarded(Body&& body) noexcept {
    try {
        return status_of(body());
    } catch (const std::bad_alloc&) {
        return failed({VMRPC_OUT_OF_RESOURCES, {}});  // a text would need memory
    } catch (const std::exception& exception) {
        return failed({VMRPC_OUT_OF_RESOURCES, exception.what()});
    }
}

}  // namespace vmrpc
