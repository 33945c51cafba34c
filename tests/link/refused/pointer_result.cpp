#include <vmrpc/vmrpc.hpp>
#ifdef VMRPC_TEST_REFUSED
int* find(int key);
#else
vmrpc::Ptr<int> find(int key);
#endif
bool call(const vmrpc::Client& client) {
    return client.call<find>(1).has_value();
}
