#include "call/cancel_call.hpp"

#include "call/server_connection.hpp"

namespace vmrpc::call {

const Function& cancel_function() {
    static const Function& made = *[] {
        static constexpr vmrpc_impl_argument kArgument{VMRPC_IMPL_VALUE, 0, sizeof(std::uint64_t),
                                                       alignof(std::uint64_t)};
        const vmrpc_impl_function declaration{sizeof declaration, "vmrpc.cancel", 0, 1, &kArgument, {}, 0};
        return new Function(Function::from(declaration).value());
    }();
    return made;
}

vmrpc_status serve_cancel(void* /*user*/, void* const* arguments, void* /*result*/, char* /*error_text*/,
                          std::size_t /*error_bytes*/) {
    ServerConnection::current()->cancel_for_client(*static_cast<const std::uint64_t*>(arguments[0]));
    return VMRPC_OK;
}

}  // namespace vmrpc::call
