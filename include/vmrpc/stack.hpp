// vmrpc, C++: code on the RPC stack.
#pragma once

#include "vmrpc/client.hpp"

#include <exception>
#include <functional>
#include <optional>
#include <type_traits>
#include <utility>
#include <variant>

namespace vmrpc {
inline namespace v0 {
namespace detail {

/// A callable that runs on another stack: what it returned or threw. Lies where it was called from.
template <class Callable, class R>
struct OnStack {
    Callable& callable;
    std::optional<std::conditional_t<std::is_void_v<R>, std::monostate, R>> returned{};
    std::exception_ptr thrown{};

    static void run(void* self) {
        auto& on_stack = *static_cast<OnStack*>(self);
        try {
            if constexpr (std::is_void_v<R>)
                std::invoke(std::forward<Callable>(on_stack.callable));
            else
                on_stack.returned.emplace(std::invoke(std::forward<Callable>(on_stack.callable)));
        } catch (...) {
            on_stack.thrown = std::current_exception();
        }
    }
};

}  // namespace detail

/// Runs `callable()` on the RPC stack of the calling thread, in memory that the server sees, and returns what it
/// returned. Spans of its locals, and pointers to them, are arguments as those to the heap are: in place, in and out.
/// An exception of the callable's comes out of here.
///
///     vmrpc::on_rpc_stack(client, [&] {
///         std::array<double, 1000> values = measure();
///         return client.call<mean>(values);  // nothing is copied
///     });
///
/// From code that runs there already the callable is called at once. One stack for each thread, reused. Calls with such
/// arguments do not return before the server has answered, whatever their time limit. The callable must not end the
/// thread, fork, leave by longjmp or destroy the client. Blocks for as long as the callable does.
///
/// Stack overflow is an error if it happens in the callable's own program or library. Its frames are then abandoned:
/// nothing on them is destroyed, what they had locked stays locked. Elsewhere, where a lock may be held (in malloc), it
/// ends the process, with a message.
///
/// Errors: VMRPC_STACK_OVERFLOW, VMRPC_BUSY (more threads than lanes), VMRPC_NOT_SUPPORTED (under AddressSanitizer with
/// detect_stack_use_after_return, which keeps locals off the stack: set it to 0; with hugetlb pages, of either
/// side's wish, because the system protects these only whole, and the stack's end needs a guard),
/// VMRPC_OUT_OF_RESOURCES, and why the connection is over. If there is an error the callable has not run, except with
/// VMRPC_STACK_OVERFLOW.
template <class Callable>
auto on_rpc_stack(const Client& client, Callable&& callable) -> Result<std::invoke_result_t<Callable>> {
    using R = std::invoke_result_t<Callable>;
    static_assert(!std::is_reference_v<R>, "vmrpc: what the callable returns must outlive the RPC stack: a value");
    detail::OnStack<Callable, R> on_stack{callable};
    const vmrpc_status status = vmrpc_impl_on_rpc_stack(client.handle(), &decltype(on_stack)::run, &on_stack);
    if (status != VMRPC_OK) return detail::last_error();
    if (on_stack.thrown) std::rethrow_exception(std::move(on_stack.thrown));
    if constexpr (std::is_void_v<R>)
        return {};
    else
        return *std::move(on_stack.returned);
}

}  // namespace v0
}  // namespace vmrpc
