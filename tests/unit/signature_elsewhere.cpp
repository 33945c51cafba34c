#include "call/function.hpp"
#include "signature_functions.hpp"

namespace {
// A copy, as each translation unit has one that includes a C declaration.
vmrpc_impl_function copied_declaration() {
    vmrpc_impl_function copy = signature::declared<signature_mean>();
    copy.id = 0;
    return copy;
}
}  // namespace

std::uint32_t signature::id_of_mean_elsewhere() {
    static vmrpc_impl_function own = copied_declaration();
    return vmrpc::call::registered(own).value().id;
}
