// Passes a lambda to the server, and is told how far that has come: hello_callback_client [ADDRESS].
#include "hello_callback.hpp"

#include <cstdio>
#include <numeric>

int main(int argc, char** argv) {
    const auto client = vmrpc::Client::connect(argc > 1 ? argv[1] : "local:/tmp/vmrpc-hello.sock");
    if (!client) {
        std::fprintf(stderr, "%s\n", client.error().message().c_str());
        return 1;
    }
    const auto added = client->add<progress>([](std::uint64_t done, std::uint64_t all) {
        std::printf("%llu of %llu\n", static_cast<unsigned long long>(done), static_cast<unsigned long long>(all));
    });
    const auto values = client->heap().make_array<double>(1'000);
    if (!added || !values) {
        std::fprintf(stderr, "%s\n", (added ? values.error() : added.error()).message().c_str());
        return 1;
    }
    std::iota(values->begin(), values->end(), 0.0);
    const double limit = 42;
    const auto count = client->call<count_if>(*values, [limit](double value) { return value < limit; });
    if (!count) {
        std::fprintf(stderr, "%s\n", count.error().message().c_str());
        return 1;
    }
    std::printf("below %g: %llu\n", limit, static_cast<unsigned long long>(*count));
    return 0;
}
