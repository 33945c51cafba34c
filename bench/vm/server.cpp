// The host's side of the calls.
#include "support/child.hpp"
#include "support/must.hpp"
#include "vm/calls.hpp"
#include "vm/functions.hpp"

#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <numeric>
#include <thread>

namespace vmrpc::bench {
namespace {

double serve_bytes(InPlace<std::span<const char>> values) {
    const auto add = [](std::uint64_t sum, char value) { return sum + static_cast<unsigned char>(value); };
    return static_cast<double>(std::accumulate(values.begin(), values.end(), std::uint64_t{0}, add));
}

double serve_fixed(InPlace<std::span<const Fixed>> values) {
    const auto add = [](double sum, const Fixed& value) { return sum + value.i + value.j + value.d; };
    return std::accumulate(values.begin(), values.end(), 0.0, add);
}

double serve_variable(InPlace<std::span<const Variable>> values) {
    const std::ptrdiff_t offset = vmrpc_offset(nullptr, VMRPC_DEFAULT_HEAP);  // 0 where both have the same addresses
    std::uint64_t characters = 0;
    double sum = 0;
    for (const Variable& value : values) {
        for (const char* next = value.s + offset; *next != '\0'; ++next)
            characters += static_cast<unsigned char>(*next);
        sum += value.d;
    }
    return sum + static_cast<double>(characters);
}

}  // namespace

void serve_calls(const std::string& address, std::int64_t spin, std::uint64_t heap_bytes,
                 const std::function<void()>& ready) {
    Server server(address, {.heap_bytes = heap_bytes, .spin = std::chrono::nanoseconds(spin), .trust_peer = true});
    must(server.add<nothing>([] {}));
    must(server.add<sum_bytes>(serve_bytes));
    must(server.add<sum_fixed>(serve_fixed));
    must(server.add<sum_variable>(serve_variable));
    must(server.add<hold>(
        [](std::int64_t milliseconds) { std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds)); }));
    must(server.add<cpu_used>([] { return static_cast<double>(cpu_time_ns(::getpid())); }));
    must(Result<void>(server.status()));
    ready();
    must(server.run());
}

}  // namespace vmrpc::bench
