// What cannot work in a guest, and must be told as such.
#include "ivshmem_guest.hpp"

#include <unistd.h>

#include <map>
#include <string>
#include <thread>

namespace ivshmem_test {
namespace {

int unprivileged() {
    EXPECT(::setuid(1000) == 0);
    expect_error(vmrpc::Client::connect(address), VMRPC_NOT_PERMITTED, "run as root", __LINE__);
    return 0;
}

int no_sentinel() {
    ::setenv("VMRPC_SENTINEL", "/no/such/program", 1);
    expect_error(vmrpc::Client::connect(address), VMRPC_NOT_SUPPORTED, "/no/such/program", __LINE__);
    return 0;
}

int absent() {
    expect_error(vmrpc::Client::connect("ivshmem:0000:1f:1f.7"), VMRPC_NO_SERVER, "no such PCI device", __LINE__);
    expect_error(vmrpc::Client::connect("ivshmem:/run/a.sock"), VMRPC_BAD_ADDRESS, "on the host", __LINE__);
    return 0;
}

int no_device() {
    expect_error(vmrpc::Client::connect(address), VMRPC_NO_SERVER, "-device ivshmem-doorbell", __LINE__);
    expect_error(vmrpc::Client::connect("ivshmem:0000:00:02.0"), VMRPC_NO_SERVER, "no such PCI device", __LINE__);
    return 0;
}

// One device is a server's; the others another program's, too small for a header, and smaller than its header says.
int several() {
    const auto result = vmrpc::Client::connect(address);
    expect_error(result, VMRPC_BAD_ADDRESS, "there are 4 ivshmem devices", __LINE__);
    const std::string text = result.error().message();
    std::map<std::string, int> found;
    for (std::size_t at = text.find("ivshmem:0000"); at != std::string::npos; at = text.find("ivshmem:0000", at + 1)) {
        const std::string name = text.substr(at, 20);
        const auto client = vmrpc::Client::connect(name);
        if (client) EXPECT(NEED(client->call<add>(5, 6)) == 11);
        const std::string what = client ? "ours" : client.error().message();
        say(name + ": " + what);
        for (const char* const part :
             {"ours", "another program", "has 4096 bytes", "1073741824 bytes (mapped 1048576)"})
            found[part] += what.find(part) != std::string::npos ? 1 : 0;
    }
    EXPECT(found["ours"] == 1 && found["has 4096 bytes"] == 1 && found["1073741824 bytes (mapped 1048576)"] == 1);
    EXPECT(found["another program"] == 2);  // so is the small one called
    return 0;
}

// The server's socket goes while it serves, and nobody here notices; then the server itself.
int lose_socket() {
    auto client = join();
    say("connected");
    while (NEED(client.call<closed_count>()) == 0) std::this_thread::sleep_for(milliseconds(5));
    for (std::int64_t i = 0; i < 100; ++i) EXPECT(NEED(client.call<add>(i, i)) == 2 * i);
    EXPECT(NEED(join().call<add>(1, 1)) == 2);
    say("still served");
    auto last = client.call<add>(1, 1);
    // A server that stops may answer some calls that it does so before it goes.
    const auto may_serve = [&] { return last || last.error().status == VMRPC_SHUTTING_DOWN; };
    for (const auto start = Clock::now(); may_serve() && ms_since(start) < 20'000;) last = client.call<add>(1, 1);
    EXPECT(!last && last.error().status == VMRPC_PEER_LOST);
    expect_error(vmrpc::Client::connect(address), VMRPC_NO_SERVER, "has ended", __LINE__);
    return 0;
}

}  // namespace

int bad_input(const std::string& what) {
    const std::map<std::string, int (*)()> known{
        {"absent", absent},           {"lose-socket", lose_socket}, {"no-device", no_device},
        {"no-sentinel", no_sentinel}, {"several", several},         {"unprivileged", unprivileged},
    };
    const auto found = known.find(what);
    return found == known.end() ? 99 : found->second();
}

}  // namespace ivshmem_test
