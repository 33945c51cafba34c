#include "server.hpp"

#include "digest.hpp"
#include "echo.hpp"
#include "failure.hpp"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <numeric>
#include <optional>

namespace demo {

Summary summarize(vmrpc::InPlace<std::span<const std::byte>> content) {
    return digest(content);
}

double sum_bytes(vmrpc::InPlace<std::span<const char>> values) {
    return static_cast<double>(
        std::accumulate(values.begin(), values.end(), std::uint64_t{0},
                        [](std::uint64_t sum, char value) { return sum + static_cast<unsigned char>(value); }));
}

double sum_fixed(vmrpc::InPlace<std::span<const Fixed>> values) {
    return std::accumulate(values.begin(), values.end(), 0.0,
                           [](double sum, const Fixed& value) { return sum + value.i + value.j + value.d; });
}

double sum_variable(vmrpc::InPlace<std::span<const Variable>> values) {
    if (!vmrpc::caller().trusted())
        throw Failure("pointers inside data are followed only if both sides trust each other: set trust_peer on both");
    // 0 where both sides have the heap at the same address, which is the rule.
    const std::ptrdiff_t offset = vmrpc_offset(nullptr, VMRPC_DEFAULT_HEAP);
    std::uint64_t characters = 0;
    double sum = 0;
    for (const Variable& value : values) {
        for (const char* next = value.s + offset; *next != '\0'; ++next)
            characters += static_cast<unsigned char>(*next);
        sum += value.d;
    }
    return sum + static_cast<double>(characters);
}

void nothing() {}

namespace {

std::atomic<vmrpc_server*> stopped_by_signal{nullptr};

/// Makes the server stop on SIGINT and SIGTERM while it exists.
class StopOnSignal {
  public:
    explicit StopOnSignal(const vmrpc::Server& server) {
        stopped_by_signal = server.handle();
        struct sigaction action {};
        action.sa_handler = [](int) { VMRPC_STOP(stopped_by_signal.load()); };
        ::sigaction(SIGINT, &action, &before_int_);
        ::sigaction(SIGTERM, &action, &before_term_);
    }
    StopOnSignal(const StopOnSignal&) = delete;
    StopOnSignal& operator=(const StopOnSignal&) = delete;
    ~StopOnSignal() {
        ::sigaction(SIGINT, &before_int_, nullptr);
        ::sigaction(SIGTERM, &before_term_, nullptr);
    }

  private:
    struct sigaction before_int_ {};
    struct sigaction before_term_ {};
};

EchoPlace echo_place(const ServeOptions& options) {
    return options.echo_tcp.empty() ? EchoPlace::beside(options.address)
                                    : EchoPlace::tcp("127.0.0.1:" + options.echo_tcp);
}

/// The library looks beside this program, where the build does not put it. Before there is any other thread.
void name_sentinel() {
    // NOLINTNEXTLINE(concurrency-mt-unsafe)
    if (::access(VMRPC_DEMO_SENTINEL, X_OK) == 0) ::setenv("VMRPC_SENTINEL", VMRPC_DEMO_SENTINEL, 0);
}

}  // namespace

void serve(const ServeOptions& options) {
    name_sentinel();
    vmrpc::Server server(options.address, {.trust_peer = true});
    must(server.status(), fmt::format("cannot serve at {}", options.address));
    server.add<summarize>();
    server.add<sum_bytes>();
    server.add<sum_fixed>();
    server.add<sum_variable>();
    server.add<nothing>();
    std::optional<EchoServer> echo;
    if (const EchoPlace place = echo_place(options); !place.empty()) echo.emplace(place);
    const StopOnSignal stop(server);
    fmt::print("serving at {}{}\n", options.address, echo ? ", echo at " + echo->place().text() : "");
    std::fflush(stdout);
    must(server.run(), fmt::format("cannot serve at {}", options.address));
}

}  // namespace demo
