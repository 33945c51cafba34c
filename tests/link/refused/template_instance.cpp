#include <vmrpc/vmrpc.hpp>
template <class T>
T twice(T value);
#ifdef VMRPC_TEST_REFUSED
constexpr auto kTwice = &twice<int>;
#else
constexpr auto kTwice = vmrpc::named<"twice", int(int)>;
#endif
int call(const vmrpc::Client& client) {
    return client.call<kTwice>(1).value();
}
