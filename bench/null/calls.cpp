#include "null/calls.hpp"

#include "null/null_function.h"
#include "support/must.hpp"

#include <vmrpc/vmrpc.hpp>

#include <chrono>
#include <stdexcept>
#include <string>

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

}  // namespace

Sides call_sides(ScratchFolder& folder, Api api, std::int64_t spin_ns) {
    const std::string address = "local:" + folder.fresh().string();
    const std::chrono::nanoseconds spin(spin_ns);
    return {.serve = [=](const Report& report) { serve(address, spin, report); },
            .call = [=](const Effort& effort, pid_t process) { return call(address, spin, api, effort, process); }};
}

}  // namespace vmrpc::bench
