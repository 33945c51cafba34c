// Client and server that make marked system calls, and many calls between them: see no_syscalls_test.cpp.
//
//     vmrpc-hot-calls SOCKET spin|sleep
//
// Both sides spin without end, or never. A marker is a write to /dev/null that a trace of system calls shows. The
// client's thread writes its own, the server's does so from the functions that are called first and last.
#include <vmrpc/vmrpc.hpp>

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <string>
#include <string_view>

namespace hot_calls {

void begin();
void end();
int add(int a, int b);

}  // namespace hot_calls

namespace {

constexpr int kCalls = 10'000;

void mark(std::string_view text) {
    static const int nowhere = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
    [[maybe_unused]] const auto written = ::write(nowhere, text.data(), text.size());
}

int serve(const std::string& address, std::chrono::nanoseconds spin, int ready) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    vmrpc::Server server(address, {.spin = spin});
    server.add<hot_calls::begin>([] { mark("begin server"); });
    server.add<hot_calls::end>([] { mark("end server"); });
    server.add<hot_calls::add>([](int a, int b) { return a + b; });
    if (::write(ready, "r", 1) != 1) return 1;
    return server.run() ? 0 : 1;
}

bool call(const std::string& address, std::chrono::nanoseconds spin) {
    const auto client = vmrpc::Client::connect(address, {.spin = spin});
    if (!client || !client->require<hot_calls::begin, hot_calls::end, hot_calls::add>()) return false;
    bool right = client->call<hot_calls::begin>().has_value();
    mark("begin client");
    for (int i = 0; i < kCalls; ++i) right &= client->call<hot_calls::add>(i, 1) == i + 1;
    mark("end client");
    return right && client->call<hot_calls::end>().has_value();
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3) return 2;
    ::alarm(60);  // calls that hang must not outlive the test; the server dies with this process
    const std::string address = std::string("local:") + argv[1];
    const std::chrono::nanoseconds spin(argv[2] == std::string_view("spin") ? VMRPC_SPIN_ALWAYS : VMRPC_SPIN_NEVER);
    std::array<int, 2> ends{};
    if (::pipe(ends.data()) != 0) return 1;
    const pid_t server = ::fork();  // before this process uses the library
    if (server == 0) ::_exit(serve(address, spin, ends[1]));
    char ready = 0;
    const bool right = ::read(ends[0], &ready, 1) == 1 && call(address, spin);
    ::kill(server, SIGKILL);
    ::waitpid(server, nullptr, 0);
    if (!right) std::fputs("hot_calls: a call failed\n", stderr);
    return right ? 0 : 1;
}
