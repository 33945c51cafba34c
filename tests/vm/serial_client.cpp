// What serial_test runs in a guest that has one port: takes it, again and again, and tells its console how far it is.
#include "guest_children.hpp"
#include "transport/vm/interrupt_wait.hpp"
#include "transport/vm/serial_port.hpp"
#include "transport/vm/stream_doorbell.hpp"

#include <poll.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>

namespace {

using namespace ivshmem_test;
using namespace vmrpc::transport::vm;  // NOLINT(google-build-using-namespace)
using vmrpc::base::Deadline;

constexpr std::int64_t kLongNs = 30'000'000'000;
constexpr std::int64_t kShortNs = 200'000'000;
constexpr char kLastRing = 9;
const vmrpc::layout::Uuid kSegment{1, 2, 3};

std::unique_ptr<Doorbell> take_port() {
    auto doorbell = open_serial_doorbell(kSegment, Deadline::in(kLongNs));
    if (!doorbell) say(doorbell.error().text);
    EXPECT(doorbell);
    return std::move(*doorbell);
}

/// Rings of the process before may come first.
void wait_for_last_ring(int port) {
    char ring = 0;
    while (ring != kLastRing) {
        pollfd watched{port, POLLIN, 0};
        EXPECT(::poll(&watched, 1, 30'000) == 1);
        EXPECT(::read(port, &ring, 1) == 1);
    }
}

void ring_and_be_rung() {
    const auto doorbell = take_port();
    const auto interrupt = doorbell->interrupt(2);
    EXPECT(interrupt && interrupt->ring_vector == kRungByStream);
    doorbell->ring(kRequestVector);
    wait_for_last_ring(interrupt->descriptor.get());
}

void nobody_else_has_it() {
    auto port = open_serial_port(Deadline::in(kLongNs));
    EXPECT(port);
    const auto second = open_serial_port(Deadline::in(kShortNs));
    EXPECT(!second && second.error().status == VMRPC_OUT_OF_RESOURCES);
    EXPECT(second.error().text.find("(1 of 1)") != std::string::npos);
    port->reset();
    EXPECT(open_serial_port(Deadline::in(kLongNs)));
}

/// Ends in the middle of a hello.
void be_killed() {
    const pid_t child = ::fork();
    if (child == 0) {
        const auto port = open_serial_port(Deadline::in(kLongNs));
        EXPECT(port);
        const StreamHello hello{.magic = kStreamMagic, .entry = 1, .segment_uuid = kSegment};
        EXPECT(::write(port->get(), &hello, sizeof hello) == sizeof hello);
        EXPECT(::write(port->get(), &hello, 9) == 9);
        ::raise(SIGKILL);
    }
    EXPECT(WIFSIGNALED(status_of(child)));
    say("killed");
}

void lose_the_service() {
    const auto doorbell = take_port();
    auto interrupt = doorbell->interrupt(0);
    EXPECT(interrupt);
    const auto wait = InterruptWait::make(std::move(*interrupt));
    EXPECT(wait);
    say("end it");
    while (!(*wait)->has_hung_up()) (*wait)->wait(Deadline());
    doorbell->ring(kRequestVector);  // does not block
    say("it has ended");
}

}  // namespace

int main() {
    EXPECT(serial_ports().size() == 1);
    ring_and_be_rung();
    nobody_else_has_it();
    be_killed();
    ring_and_be_rung();
    lose_the_service();
    const auto silent = open_serial_port(Deadline::in(kShortNs));
    EXPECT(!silent && silent.error().status == VMRPC_NO_SERVER);
    EXPECT(silent.error().text.find("start it") != std::string::npos);
    say("silent");
    EXPECT(open_serial_port(Deadline::in(kLongNs)));
    return 0;
}
