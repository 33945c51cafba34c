#include "call/pages_calls.hpp"

#include "call/server_connection.hpp"

#include <string>

namespace vmrpc::call {
namespace {

const Function& make_pages_function(const char* name) {
    static constexpr vmrpc_impl_argument kArgument{VMRPC_IMPL_VALUE, 0, sizeof(PagesRequest), alignof(PagesRequest)};
    const vmrpc_impl_function declaration{sizeof declaration, name, 0, 1, &kArgument, {}, 0};
    return *new Function(Function::from(declaration).value());
}

layout::Extent asked_for(void* const* arguments) {
    const auto& request = *static_cast<const PagesRequest*>(arguments[0]);  // a private copy
    return {request.offset, request.bytes};
}

vmrpc_status tell(const base::Status& status, char* error_text, std::size_t error_bytes) {
    if (status) return VMRPC_OK;
    error_text[status.error().text.copy(error_text, error_bytes - 1)] = '\0';
    return status.error().status;
}

}  // namespace

const Function& commit_function() {
    static const Function& made = make_pages_function("vmrpc.commit");
    return made;
}

const Function& trim_function() {
    static const Function& made = make_pages_function("vmrpc.trim");
    return made;
}

vmrpc_status serve_commit(void* /*user*/, void* const* arguments, void* /*result*/, char* error_text,
                          std::size_t error_bytes) {
    return tell(ServerConnection::current()->commit_for_client(asked_for(arguments)), error_text, error_bytes);
}

vmrpc_status serve_trim(void* /*user*/, void* const* arguments, void* /*result*/, char* error_text,
                        std::size_t error_bytes) {
    return tell(ServerConnection::current()->trim_for_client(asked_for(arguments)), error_text, error_bytes);
}

}  // namespace vmrpc::call
