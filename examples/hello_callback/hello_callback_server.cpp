// Serves a function that calls its caller back: hello_callback_server [ADDRESS].
#include "hello_callback.hpp"

#include <csignal>
#include <cstdio>
#include <stdexcept>

namespace {

vmrpc::Server* running = nullptr;

}  // namespace

std::uint64_t count_if(std::span<const double> values, vmrpc::Callback<bool(double)> holds) {
    constexpr std::size_t kStep = 250;
    const vmrpc::Caller client = vmrpc::caller();
    std::uint64_t count = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
        const auto answer = holds(values[i]);
        if (!answer) throw std::runtime_error(answer.error().text);  // the caller's callable threw, say
        count += *answer ? 1 : 0;
        // A client that has no such function does not want to know.
        if ((i + 1) % kStep == 0) static_cast<void>(client.call<progress>(i + 1, values.size()));
    }
    return count;
}

int main(int argc, char** argv) {
    // On a worker: a function that waits for its client would hold up the others'.
    const char* const address = argc > 1 ? argv[1] : "local:/tmp/vmrpc-hello.sock";
    vmrpc::Server server(address, {.workers = 2});
    server.add<count_if>({.pooled = true});
    if (server.status()) {
        running = &server;
        for (const int signal : {SIGINT, SIGTERM}) std::signal(signal, [](int) { running->stop(); });
        std::printf("serving at %s\n", address);
        std::fflush(stdout);
    }
    const auto served = server.run();
    for (const int signal : {SIGINT, SIGTERM}) std::signal(signal, SIG_DFL);
    if (!served) std::fprintf(stderr, "cannot serve at %s: %s\n", address, served.error().message().c_str());
    return served ? 0 : 1;
}
