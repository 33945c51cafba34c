// What the guest's virtio-net leads to: a TAP device in a network namespace that this process makes and enters, or,
// where it may not, QEMU's own network.
#pragma once

#include <string>

namespace vmrpc::bench {

struct Network {
    std::string tap;        // the device's name; empty: QEMU's own network
    std::string listen_at;  // where a program of this host is to listen, to be reached by the guest
    std::string why_not;    // a TAP device could not be had

    /// "tap", or "slirp".
    [[nodiscard]] const char* name() const { return tap.empty() ? "slirp" : "tap"; }
};

/// The host as a guest reaches it, by either.
inline constexpr auto kHostInGuest = "10.0.2.2";

/// Before there is any other thread, and any child that is to be reached. The namespace is gone with the last process
/// in it. Does not fail.
Network enter_network();

}  // namespace vmrpc::bench
