#include "vm/idle.hpp"

#include "base/clock.hpp"
#include "support/child.hpp"
#include "support/must.hpp"
#include "vm/calls.hpp"
#include "vm/functions.hpp"

#include <unistd.h>

#include <thread>

namespace vmrpc::bench {
namespace {

template <class Wait>
IdleCpu watch(const std::string& address, Wait&& wait) {
    const Client client = join(address, VMRPC_SPIN_NEVER);
    std::this_thread::sleep_for(std::chrono::milliseconds(200));  // the connection comes to rest
    const double server_before_ns = must(client.call<cpu_used>());
    const auto start_ns = static_cast<double>(base::now_ns());
    const std::int64_t before_ns = cpu_time_ns(::getpid());
    wait(client);
    const auto used_ns = static_cast<double>(cpu_time_ns(::getpid()) - before_ns);
    const double server_used_ns = must(client.call<cpu_used>()) - server_before_ns;
    const double passed_ns = static_cast<double>(base::now_ns()) - start_ns;
    return {.guest_percent = used_ns / passed_ns * 100, .host_percent = server_used_ns / passed_ns * 100};
}

}  // namespace

IdleCpu waiting_for_reply(const std::string& address, std::chrono::milliseconds held) {
    return watch(address, [held](const Client& client) { must(client.call<hold>(held.count())); });
}

IdleCpu without_calls(const std::string& address, std::chrono::milliseconds duration) {
    return watch(address, [duration](const Client& /*client*/) { std::this_thread::sleep_for(duration); });
}

}  // namespace vmrpc::bench
