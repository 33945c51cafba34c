#include "null/calls.hpp"

#include "null/null_function.h"
#include "support/must.hpp"
#include "support/pin.hpp"

#include <vmrpc/vmrpc.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace vmrpc::bench {
namespace {

void serve(const std::string& address, std::chrono::nanoseconds spin, const Report& report) {
    Server server(address, {.spin = spin});
    must(server.add<bench_null>());
    say_ready(report);
    must(server.run());
}

Figures call(const std::string& address, std::chrono::nanoseconds spin, Api api, const Effort& effort, pid_t process) {
    const Client client = must(Client::connect(address, {.spin = spin}));
    const auto from_cpp = [&](int calls) {
        for (int i = 0; i < calls; ++i) must(client.call<bench_null>());
    };
    const auto from_c = [&](int calls) {
        if (bench_null_calls(client.handle(), calls) != VMRPC_OK) throw std::runtime_error(VMRPC_LAST_ERROR_TEXT());
    };
    return api == Api::kC ? measure(effort, process, from_c) : measure(effort, process, from_cpp);
}

Figures call_pipelined(const std::string& address, int depth, const Effort& effort, pid_t process) {
    const Client client = must(Client::connect(address, {.spin = std::chrono::nanoseconds(VMRPC_SPIN_ALWAYS)}));
    std::vector<Future<void>> in_flight(static_cast<std::size_t>(depth));
    for (auto& call : in_flight) call = client.async<bench_null>();
    auto oldest = in_flight.begin();
    return measure(effort, process, [&](int calls) {
        for (int i = 0; i < calls; ++i) {
            must(oldest->get());
            *oldest = client.async<bench_null>();
            if (++oldest == in_flight.end()) oldest = in_flight.begin();
        }
    });
}

Figures call_from_two(const std::string& address, const Effort& effort, pid_t process) {
    const Client client = must(Client::connect(address, {.spin = std::chrono::nanoseconds(VMRPC_SPIN_ALWAYS)}));
    const auto call = [&](int calls) {
        for (int i = 0; i < calls; ++i) must(client.call<bench_null>());
    };
    // The other thread calls for as long as this one does.
    std::atomic<bool> is_over{false};
    std::thread other([&] {
        unpin();
        while (!is_over.load(std::memory_order_relaxed)) call(1);
    });
    const Figures figures = measure(effort, process, call);
    is_over.store(true, std::memory_order_relaxed);
    other.join();
    return figures;
}

}  // namespace

Sides pipelined_sides(ScratchFolder& folder, int depth) {
    const std::string address = "local:" + folder.fresh().string();
    return {
        .serve = [=](const Report& report) { serve(address, std::chrono::nanoseconds(VMRPC_SPIN_ALWAYS), report); },
        .call = [=](const Effort& effort, pid_t process) { return call_pipelined(address, depth, effort, process); }};
}

Sides two_thread_sides(ScratchFolder& folder) {
    const std::string address = "local:" + folder.fresh().string();
    return {.serve = [=](const Report& report) { serve(address, std::chrono::nanoseconds(VMRPC_SPIN_ALWAYS), report); },
            .call = [=](const Effort& effort, pid_t process) { return call_from_two(address, effort, process); }};
}

Sides call_sides(ScratchFolder& folder, Api api, std::int64_t spin_ns) {
    const std::string address = "local:" + folder.fresh().string();
    const std::chrono::nanoseconds spin(spin_ns);
    return {.serve = [=](const Report& report) { serve(address, spin, report); },
            .call = [=](const Effort& effort, pid_t process) { return call(address, spin, api, effort, process); }};
}

}  // namespace vmrpc::bench
