// What the tests of bad input to local: share. kPromptly is the limit of what has to be told within a second: who gets
// another error than VMRPC_TIMED_OUT under it was told in time.
#pragma once

#include "ends.hpp"
#include "local_harness.hpp"
#include "transport/local/protocol.hpp"
#include "transport/local/socket.hpp"

#include <gmock/gmock.h>

#include <sys/socket.h>

#include <filesystem>
#include <string>

namespace vmrpc::transport::conformance {

using namespace local;
using ::testing::HasSubstr;

inline constexpr std::int64_t kPromptly = 1'000'000'000;

inline base::Error connect_error(const std::string& address, std::int64_t limit_ns = kPromptly) {
    ClientEnd client;
    const auto link = connect({address, {}, base::Deadline::in(limit_ns)}, client);
    return link ? base::Error{VMRPC_OK, "connected"} : link.error();
}

inline base::Error listen_error(const std::string& address) {
    ServerEnd server;
    const auto listener = listen({address, {}, 0}, server);
    return listener ? base::Error{VMRPC_OK, "listens"} : listener.error();
}

inline bool connects(const std::string& address) {
    return connect_error(address).status == VMRPC_OK;
}

/// Connected to the socket of a server, which has been sent nothing yet.
inline notify::GuardedFd raw_client(const LocalHarness& harness) {
    auto socket = std::move(*make_socket());
    const auto address = socket_address(harness.path());
    EXPECT_EQ(::connect(socket.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address), 0);
    return socket;
}

inline Hello good_hello() {
    Hello hello;
    hello.lane_count = 1;
    hello.page_bytes = 4096;
    return hello;
}

inline notify::GuardedFd bound_socket(const std::string& path, int type) {
    auto socket = notify::GuardedFd::made_by([type] { return ::socket(AF_UNIX, type | SOCK_CLOEXEC, 0); });
    const auto address = socket_address(path);
    EXPECT_EQ(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address), 0);
    if (type != SOCK_DGRAM) {
        EXPECT_EQ(::listen(socket.get(), 8), 0);
    }
    return socket;
}

}  // namespace vmrpc::transport::conformance
