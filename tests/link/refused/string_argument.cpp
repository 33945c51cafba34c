#include <vmrpc/vmrpc.hpp>

#include <string>
#ifdef VMRPC_TEST_REFUSED
int length(std::string text);
#else
int length(std::string_view text);
#endif
bool call(const vmrpc::Client& client) {
    return client.call<length>(std::string("text")).has_value();
}
