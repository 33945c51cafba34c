#include <vmrpc/vmrpc.hpp>

bool any(vmrpc::Callback<bool(int)> holds);
bool call(const vmrpc::Client& client) {
    const auto holds = [](int value) { return value > 0; };
#ifdef VMRPC_TEST_REFUSED
    return client.async<any>(holds).ready();
#else
    return client.call<any>(holds).has_value();
#endif
}
