#include "scale/late.hpp"

#include "scale/server.hpp"
#include "support/measure.hpp"

#include <chrono>
#include <stdexcept>
#include <string>
#include <thread>

namespace vmrpc::bench {
namespace {

constexpr std::chrono::microseconds kLimit{200};
constexpr std::int32_t kFunctionUs = 10'000;

double late_by_ns(const Client& client) {
    const std::int64_t start_ns = base::now_ns();
    const auto result = client.call_within<sleep_us>(kLimit, kFunctionUs);
    const std::int64_t took_ns = base::now_ns() - start_ns;
    if (result) throw std::runtime_error("a call that was to be given up was answered within its limit");
    constexpr std::int64_t kLimitNs = std::chrono::nanoseconds(kLimit).count();
    // The server is free again, and what was given up is settled.
    must(client.call<nothing>());
    return static_cast<double>(took_ns - kLimitNs);
}

}  // namespace

Sides late_sides(ScratchFolder& folder) {
    const std::string address = "local:" + folder.fresh().string();
    return {.serve = [=](const Report& report) { serve_scale(address, report); },
            .call =
                [=](const Effort& effort, pid_t /*server*/) {
                    const std::vector<Client> clients = connect_all(address, 1);
                    must(clients.front().call<sleep_us>(1));  // resolved
                    std::vector<double> samples(static_cast<std::size_t>(effort.singles));
                    for (double& sample : samples) sample = late_by_ns(clients.front());
                    Figures figures = summarize(samples);
                    figures.calls = samples.size();
                    return figures;
                }};
}

}  // namespace vmrpc::bench
