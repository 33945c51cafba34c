#include <vmrpc/vmrpc.hpp>
#ifdef VMRPC_TEST_REFUSED
std::string_view name(int key);
#else
vmrpc::Array<char> name(int key);
#endif
bool call(const vmrpc::Client& client) {
    return client.call<name>(1).has_value();
}
