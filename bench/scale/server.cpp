#include "scale/server.hpp"

#include "support/pair.hpp"

#include <sys/resource.h>

#include <chrono>
#include <thread>

namespace vmrpc::bench {

void raise_file_limit() {
    rlimit limit{};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
}

void serve_scale(const std::string& address, const Report& report) {
    raise_file_limit();
    Server server(address);
    must(server.add<nothing>([] {}));
    must(server.add<sleep_us>([](std::int32_t us) { std::this_thread::sleep_for(std::chrono::microseconds(us)); }));
    say_ready(report);
    must(server.run());
}

std::vector<Client> connect_all(const std::string& address, int count) {
    raise_file_limit();
    std::vector<Client> clients;
    for (int i = 0; i < count; ++i) {
        clients.push_back(must(Client::connect(address)));
        must(clients.back().call<nothing>());
    }
    return clients;
}

}  // namespace vmrpc::bench
