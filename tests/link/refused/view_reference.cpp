#include <vmrpc/vmrpc.hpp>
#ifdef VMRPC_TEST_REFUSED
int length(std::string_view& text);
#else
int length(const std::string_view& text);
#endif
bool call(const vmrpc::Client& client) {
    std::string_view text = "text";
    return client.call<length>(text).has_value();
}
