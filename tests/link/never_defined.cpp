// Calls functions that are declared and never defined: it links, with debug information and without optimization too,
// and runs. Nobody serves at the address, so every call is an error.
#include <vmrpc/vmrpc.hpp>

#include <cstdint>
#include <cstdio>
#include <span>
#include <string_view>

double mean(std::span<const double> values);
namespace never::defined {
struct Pair {
    std::int32_t left;
    std::int32_t right;
};
std::int64_t sum(const Pair& pair, std::string_view text) noexcept;
vmrpc::Array<std::uint8_t> bytes(vmrpc::Ptr<Pair> pair);
void swap(Pair& pair);
}  // namespace never::defined

int main() {
    auto client = vmrpc::Client::connect("local:/nonexistent/vmrpc/never.sock");
    if (client) {
        // Not reached; but it is compiled, and linked.
        never::defined::Pair pair{1, 2};
        static_cast<void>(client->call<mean>(client->heap().make_array<double>(3).value()));
        static_cast<void>(client->call<never::defined::sum>(pair, "text"));
        static_cast<void>(client->call<never::defined::bytes>(vmrpc::Ptr<never::defined::Pair>{}));
        static_cast<void>(client->call_within<never::defined::swap>(std::chrono::seconds(1), pair));
        static_cast<void>(client->async<mean>(client->heap().make_array<double>(3).value()).get());
        static_cast<void>(client->async_within<never::defined::swap>(std::chrono::seconds(1), pair).get());
        static_cast<void>(client->post<never::defined::sum>(pair, "text"));
        static_cast<void>(client->require<mean, never::defined::sum>());
        std::puts("a server where none can be");
        return 1;
    }
    std::puts(client.error().message().c_str());
    return client.error().status == VMRPC_NO_SERVER ? 0 : 1;
}
