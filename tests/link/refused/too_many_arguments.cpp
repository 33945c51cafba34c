#include <vmrpc/vmrpc.hpp>
#ifdef VMRPC_TEST_REFUSED
int sum(int, int, int, int, int, int, int, int, int, int, int, int, int);
bool call(const vmrpc::Client& client) {
    return client.call<sum>(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13).has_value();
}
#else
int sum(int, int, int, int, int, int, int, int, int, int, int, int);
bool call(const vmrpc::Client& client) {
    return client.call<sum>(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12).has_value();
}
#endif
