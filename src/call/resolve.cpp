#include "call/resolve.hpp"

namespace vmrpc::call {

const Function& resolve_function() {
    static const Function& made = *[] {
        static constexpr vmrpc_impl_argument kArgument{VMRPC_IMPL_VALUE, 0, sizeof(ResolveRequest),
                                                       alignof(ResolveRequest)};
        const vmrpc_impl_function declaration{
            .struct_bytes = sizeof declaration,
            .name = "vmrpc.resolve",
            .schema = 0,
            .argument_count = 1,
            .arguments = &kArgument,
            .result = {VMRPC_IMPL_VALUE, 0, sizeof(ResolveReply), alignof(ResolveReply)},
            .id = 0,
        };
        return new Function(Function::from(declaration).value());
    }();
    return made;
}

}  // namespace vmrpc::call
