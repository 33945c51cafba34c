// The conformance server as a program: conformance-server ADDRESS. Serves until SIGTERM or SIGINT, or its parent's end.
#include "conformance/server.hpp"

#include <sys/prctl.h>

#include <atomic>
#include <csignal>
#include <cstdio>

namespace {

std::atomic<vmrpc_server*> serving{nullptr};  // set before the handler is installed

void stop(int /*signal*/) {
    VMRPC_STOP(serving.load(std::memory_order_relaxed));
}

}  // namespace

int main(int argument_count, char** arguments) {
    if (argument_count != 2) {
        std::fputs("usage: conformance-server ADDRESS\n", stderr);
        return 2;
    }
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);
    vmrpc::Server server = conformance::make_server(arguments[1], {.borrow_stack = true});
    serving.store(server.handle(), std::memory_order_relaxed);
    if (server.status()) {
        std::signal(SIGTERM, stop);
        std::signal(SIGINT, stop);
        std::puts("ready");
        std::fflush(stdout);
    }
    const auto result = server.run();
    if (result) return 0;
    std::fprintf(stderr, "conformance-server: %s\n", result.error().message().c_str());
    return 1;
}
