// For doorbell_client: brokers that end, users that may use them, and users that may not.
#include "doorbell_guest.hpp"

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace doorbell_test {
namespace {

/// The broker of what ran before ends by itself.
int broker_ends(const Words&) {
    EXPECT(wait_until([] { return brokers().empty(); }));
    return 0;
}

/// Two processes lose their broker, still hear and ring, and come back through another.
int broker_killed(const Words&) {
    auto* ready = shared<int>();
    const auto body = [ready](std::uint32_t vector) {
        auto doorbell = NEED(open_doorbell());
        const auto interrupt = NEED(doorbell->interrupt(vector));
        ++*ready;
        pollfd watched{doorbell->broker_descriptor(), 0, 0};
        EXPECT(::poll(&watched, 1, kPatienceMs) == 1 && (watched.revents & POLLHUP) != 0);
        doorbell->ring(kSelf, vector);
        EXPECT(wait_for(interrupt.get()) == 1);
        const auto lost = doorbell->interrupt(vector);
        EXPECT(!lost && lost.error().status == VMRPC_PEER_LOST);
        doorbell.reset();
        doorbell = NEED(open_doorbell());
        EXPECT(rings_itself(*doorbell, vector));
        return 0;
    };
    auto other = NEED(open_doorbell());
    const auto first = brokers();
    EXPECT(first.size() == 1);
    std::array<pid_t, 2> users{start([&] { return body(1); }), start([&] { return body(2); })};
    EXPECT(wait_until([&] { return *ready == 2; }));
    // This one holds the device a little longer than the others: the new broker waits for it.
    ::kill(first.front(), SIGKILL);
    ::usleep(200'000);
    other.reset();
    for (const pid_t user : users) EXPECT(status_of(user) == 0);
    return 0;
}

/// Users other than root, with the group's node opened to them, or with nothing but the memory.
int unprivileged(const Words&) {
    EXPECT(wait_until([] { return brokers().empty(); }));
    const auto user = [](int proof) {
        return [proof] { return rings_itself(*NEED(open_doorbell(proof)), 1) ? 0 : 1; };
    };
    EXPECT(as_user(1000, 1000,
                   [] { return fails(open_doorbell(), VMRPC_NOT_PERMITTED, "SUBSYSTEM==\"vfio\"") ? 0 : 1; }) == 0);
    // User 1000 starts the broker, root and others who may open the node use it.
    EXPECT(::chown(group_node().c_str(), 1000, 77) == 0 && ::chmod(group_node().c_str(), 0660) == 0);
    EXPECT(as_user(1000, 1000, user(-1)) == 0);
    EXPECT(brokers().size() == 1);
    EXPECT(user(-1)() == 0);
    const base::Fd memory(::open(sysfs("resource2").c_str(), O_RDWR | O_CLOEXEC));
    const base::Fd readable(::open(sysfs("resource2").c_str(), O_RDONLY | O_CLOEXEC));
    const base::Fd other(::open(sysfs("resource0").c_str(), O_RDWR | O_CLOEXEC));
    EXPECT(memory.valid() && readable.valid() && other.valid());
    for (const int proof : {-1, readable.get(), other.get()})
        EXPECT(as_user(1001, 77, [proof] {
                   return fails(open_doorbell(proof), VMRPC_NOT_PERMITTED, "has not shown") ? 0 : 1;
               }) == 0);
    EXPECT(as_user(1001, 1001, user(memory.get())) == 0);
    EXPECT(wait_until([] { return brokers().empty(); }));
    EXPECT(::chown(group_node().c_str(), 0, 0) == 0);
    return 0;
}

/// The memory of another device, which this one's interrupts tell of, is proof: opened for writing.
int dax(const Words&) {
    EXPECT(wait_until([] { return brokers().empty(); }));
    const auto keeper = NEED(open_doorbell());  // the broker is root's
    const base::Fd memory(::open("/dev/dax0.0", O_RDWR | O_CLOEXEC));
    const base::Fd readable(::open("/dev/dax0.0", O_RDONLY | O_CLOEXEC));
    EXPECT(memory.valid() && readable.valid());
    EXPECT(as_user(1001, 1001, [&] { return rings_itself(*NEED(open_doorbell(memory.get())), 1) ? 0 : 1; }) == 0);
    EXPECT(as_user(1001, 1001, [&] {
               return fails(open_doorbell(readable.get()), VMRPC_NOT_PERMITTED, "has not shown") ? 0 : 1;
           }) == 0);
    return 0;
}

/// A broker that root starts at boot serves who has the memory, stays, and ends on SIGTERM.
int service(const Words&) {
    EXPECT(wait_until([] { return brokers().empty(); }));
    const base::Fd memory(::open(sysfs("resource2").c_str(), O_RDWR | O_CLOEXEC));
    const pid_t broker = start([] {
        ::execl("/vmrpc-doorbell", "vmrpc-doorbell", "--stay", address().c_str(), nullptr);
        return 127;
    });
    const auto use = [&] {
        return as_user(1001, 1001, [&] { return rings_itself(*NEED(open_doorbell(memory.get())), 2) ? 0 : 1; });
    };
    EXPECT(wait_until([&] { return use() == 0; }));
    ::sleep(3);
    EXPECT(brokers() == std::vector<pid_t>{broker});
    EXPECT(use() == 0);
    ::kill(broker, SIGTERM);
    EXPECT(status_of(broker) == 0);
    return 0;
}

/// Somebody who may not use the device binds the broker's name: nobody shows it anything.
int stranger(const Words&) {
    EXPECT(wait_until([] { return brokers().empty(); }));
    std::array<int, 2> ends{};
    EXPECT(::pipe(ends.data()) == 0);
    const pid_t squatter = start([&] {
        EXPECT(::setgroups(0, nullptr) == 0 && ::setgid(1002) == 0 && ::setuid(1002) == 0);
        const BrokerName name = broker_name(address());
        const int listener = ::socket(AF_UNIX, SOCK_SEQPACKET, 0);
        EXPECT(::bind(listener, reinterpret_cast<const sockaddr*>(&name.address), name.bytes) == 0);
        EXPECT(::listen(listener, 5) == 0 && ::write(ends[1], "x", 1) == 1);
        // What it is sent would make it end with 1.
        const int client = ::accept(listener, nullptr, nullptr);
        char byte = 0;
        return ::recv(client, &byte, 1, 0) == 0 ? 0 : 1;
    });
    char byte = 0;
    EXPECT(::read(ends[0], &byte, 1) == 1);
    EXPECT(fails(open_doorbell(), VMRPC_NOT_PERMITTED, "in place of its broker"));
    EXPECT(status_of(squatter) == 0);
    return 0;
}

}  // namespace

int brokers_test(const std::string& what, const Words& words) {
    const std::map<std::string, int (*)(const Words&)> known{
        {"broker-ends", broker_ends}, {"broker-killed", broker_killed}, {"unprivileged", unprivileged}, {"dax", dax},
        {"service", service},         {"stranger", stranger},
    };
    const auto found = known.find(what);
    return found == known.end() ? 99 : found->second(words);
}

}  // namespace doorbell_test
