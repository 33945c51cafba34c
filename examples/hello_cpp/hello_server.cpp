// Serves the functions of hello.hpp until SIGINT or SIGTERM: hello_cpp_server [ADDRESS].
#include "hello.hpp"

#include <csignal>
#include <cstdio>
#include <numeric>

double mean(std::span<const double> values) {
    const double sum = std::accumulate(values.begin(), values.end(), 0.0);
    return values.empty() ? 0 : sum / static_cast<double>(values.size());
}

void advance(std::int64_t& counter, std::int64_t step) {
    counter += step;
}

vmrpc::Array<std::uint64_t> squares(std::uint32_t count) {
    auto numbers = vmrpc::make_array<std::uint64_t>(count).value();  // in the caller's heap; throwing fails the call
    for (std::uint64_t i = 0; i < count; ++i) numbers[i] = i * i;
    return numbers;
}

namespace {
vmrpc_server* to_stop = nullptr;
}

int main(int argc, char** argv) {
    const char* address = argc > 1 ? argv[1] : "local:/tmp/vmrpc-hello.sock";
    vmrpc::Server server(address);
    server.add<mean>();
    server.add<advance>();
    server.add<squares>();
    if (server.status()) {
        to_stop = server.handle();
        for (const int signal : {SIGINT, SIGTERM}) std::signal(signal, [](int) { VMRPC_STOP(to_stop); });
        std::printf("serving at %s\n", address);
        std::fflush(stdout);
    }
    const auto served = server.run();
    for (const int signal : {SIGINT, SIGTERM}) std::signal(signal, SIG_DFL);
    if (!served) std::fprintf(stderr, "cannot serve at %s: %s\n", address, served.error().message().c_str());
    return served ? 0 : 1;
}
