#include <vmrpc/vmrpc.hpp>

#include <array>
#ifdef VMRPC_TEST_REFUSED
int sum(std::span<const int, 4> values);
#else
int sum(std::span<const int> values);
#endif
bool call(const vmrpc::Client& client) {
    const std::array<int, 4> values{};
    return client.call<sum>(values).has_value();
}
