#include <vmrpc/vmrpc.hpp>
#ifdef VMRPC_TEST_REFUSED
namespace {
int here(int value);
}
#else
int here(int value);
#endif
int call(const vmrpc::Client& client) {
    return client.call<here>(1).value();
}
