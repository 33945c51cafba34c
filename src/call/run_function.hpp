// Running a function that this process serves, as the handler of its dispatch entry.
#pragma once

#include "call/function_table.hpp"
#include "call/running_call.hpp"
#include "layout/lane.hpp"

#include <array>
#include <exception>
#include <utility>

namespace vmrpc::call {

/// Calls the handler as `call`, which is the thread's current one meanwhile. If it is not VMRPC_OK, call.failure is the
/// text. Nothing is thrown.
[[gnu::always_inline]] inline vmrpc_status run_function(RunningCall& call, const FunctionTable::Entry& entry,
                                                        void* const* arguments, void* result) {
    const RunningCall::Current current(call);
    std::array<char, layout::kErrorTextBytes> text;  // not cleared for each call
    text.front() = '\0';
    try {
        const vmrpc_status status = entry.handler(entry.user, arguments, result, text.data(), text.size());
        if (status == VMRPC_OK && !call.has_failed) [[likely]]
            return VMRPC_OK;
        if (!std::exchange(call.has_failed, false)) {
            call.failure = text.data();
            return status;
        }
        return VMRPC_FUNCTION_FAILED;
    } catch (const std::exception& exception) {  // a C handler that was compiled as C++ lets them through
        call.failure = exception.what();
    } catch (...) {
        call.failure = "the function threw something that is no std::exception";
    }
    call.has_failed = false;
    return VMRPC_FUNCTION_FAILED;
}

}  // namespace vmrpc::call
