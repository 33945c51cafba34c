#include <vmrpc/vmrpc.hpp>
#ifdef VMRPC_TEST_REFUSED
std::span<int> make(int count);
#else
vmrpc::Array<int> make(int count);
#endif
bool call(const vmrpc::Client& client) {
    return client.call<make>(1).has_value();
}
