#include "connecting.hpp"

#include "failure.hpp"
#include "functions.hpp"

#include <chrono>
#include <utility>

namespace demo {

Connection connect_to(const std::string& address) {
    using Clock = std::chrono::steady_clock;
    const auto start = Clock::now();
    auto client =
        must(vmrpc::Client::connect(address, {.trust_peer = true}), fmt::format("cannot connect to {}", address));
    const double connect_ms = std::chrono::duration<double, std::milli>(Clock::now() - start).count();
    must(client.require<summarize, sum_bytes, sum_fixed, sum_variable, nothing>(),
         fmt::format("the server at {} is not this demo's", address));
    return {std::move(client), connect_ms};
}

}  // namespace demo
