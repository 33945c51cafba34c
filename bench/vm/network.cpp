#include "vm/network.hpp"

#include "base/fd.hpp"
#include "guest_network.hpp"

#include <fmt/format.h>

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <cstring>
#include <system_error>

namespace vmrpc::bench {
namespace {

constexpr const char* kDevice = "eth0";  // the only one but loopback

std::string failed(const char* what) {
    return fmt::format("{}: {}", what, std::generic_category().message(errno));
}

/// One that stays when this descriptor is closed, for QEMU to take.
std::string make_tap() {
    const base::Fd tun(::open("/dev/net/tun", O_RDWR | O_CLOEXEC));
    if (!tun.valid()) return failed("/dev/net/tun");
    ifreq request{};
    request.ifr_flags = IFF_TAP | IFF_NO_PI;
    std::strncpy(request.ifr_name, kDevice, sizeof request.ifr_name - 1);
    if (::ioctl(tun.get(), TUNSETIFF, &request) != 0 || ::ioctl(tun.get(), TUNSETPERSIST, 1UL) != 0)
        return failed("cannot make a TAP device");
    return {};
}

std::string enter() {
    if (::unshare(CLONE_NEWNET) != 0) return failed("cannot make a network namespace");
    std::string why = make_tap();
    if (why.empty()) why = vm::start_network(kHostInGuest);
    return why;
}

}  // namespace

Network enter_network() {
    const base::Fd before(::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
    const std::string why = enter();
    if (why.empty()) return {.tap = kDevice, .listen_at = kHostInGuest, .why_not = {}};
    // It fails only where this is the namespace still.
    static_cast<void>(!::setns(before.get(), CLONE_NEWNET));
    return {.tap = {}, .listen_at = "127.0.0.1", .why_not = why};
}

}  // namespace vmrpc::bench
