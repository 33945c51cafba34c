#include "transport/vm/sentinel.hpp"

#include "transport/vm/launch.hpp"
#include "transport/vm/sentinel_protocol.hpp"

#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>

namespace vmrpc::transport::vm {

static_assert(kWardFd == kFirstPassedFd);

base::Result<std::string> find_sentinel() {
    return find_program(
        {kSentinelProgram, "VMRPC_SENTINEL", "it tells a peer in another VM that this process has died"});
}

base::Result<Sentinel> Sentinel::start(const std::string& program, std::vector<std::string> arguments,
                                       const std::vector<int>& descriptors) {
    auto ward = notify::GuardedFd::made_by([] { return static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0)); });
    if (!ward.valid()) return base::fail_errno("cannot start a sentinel: pidfd_open", errno);
    std::array<int, 2> ends{-1, -1};
    auto order = notify::GuardedFd::made_by(
        [&ends] { return ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) == 0 ? ends[0] : -1; });
    if (!order.valid()) return base::fail_errno("cannot start a sentinel: socketpair", errno);
    const auto theirs = notify::GuardedFd::made_by([&ends] { return ends[1]; });
    std::vector<int> passed{ward.get(), theirs.get()};
    passed.insert(passed.end(), descriptors.begin(), descriptors.end());
    VMRPC_TRY(launch(program, std::move(arguments), passed));
    return Sentinel(std::move(order));
}

void Sentinel::dismiss() noexcept {
    if (!order_.valid()) return;
    const char order = 'e';
    // A sentinel that is gone already needs no order.
    static_cast<void>(::send(order_.get(), &order, 1, MSG_NOSIGNAL | MSG_DONTWAIT));
    order_.reset();
}

}  // namespace vmrpc::transport::vm
