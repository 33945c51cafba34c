// Calls the hello server: hello_cpp_client [ADDRESS].
#include "hello.hpp"

#include <cinttypes>
#include <cstdio>
#include <numeric>

namespace {

vmrpc::Result<void> greet(const char* address) {
    const auto client = vmrpc::Client::connect(address);
    if (!client) return tl::unexpected(client.error());

    auto values = client->heap().make_array<double>(1000);  // memory that the server sees as well
    if (!values) return tl::unexpected(values.error());
    std::iota(values->begin(), values->end(), 0.0);
    const auto m = client->call<mean>(*values);
    if (!m) return tl::unexpected(m.error());
    std::printf("mean: %g\n", *m);

    std::int64_t counter = 40;
    if (auto done = client->call<advance>(counter, 2); !done) return done;
    std::printf("counter: %" PRId64 "\n", counter);

    const auto numbers = client->call<squares>(5U);
    if (!numbers) return tl::unexpected(numbers.error());
    std::printf("squares:");
    for (const std::uint64_t number : *numbers) std::printf(" %" PRIu64, number);
    std::printf("\n");
    return {};
}

}  // namespace

int main(int argc, char** argv) {
    const auto done = greet(argc > 1 ? argv[1] : "local:/tmp/vmrpc-hello.sock");
    if (!done) std::fprintf(stderr, "%s\n", done.error().message().c_str());
    return done ? 0 : 1;
}
