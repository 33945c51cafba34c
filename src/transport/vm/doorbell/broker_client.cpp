#include "transport/vm/doorbell/broker_client.hpp"

#include "transport/socket.hpp"
#include "transport/vm/doorbell/vfio_binding.hpp"
#include "transport/vm/launch.hpp"

#include <fmt/format.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <optional>
#include <vector>

namespace vmrpc::transport::vm {
namespace {

#ifndef SO_PEERGROUPS
constexpr int SO_PEERGROUPS = 59;  // NOLINT(readability-identifier-naming)
#endif

constexpr int kTries = 10;
constexpr int kFullPauseUs = 1000;
constexpr std::size_t kMaxGroups = 65536;  // the kernel's own limit

std::vector<gid_t> groups_of(int socket) {
    std::vector<gid_t> groups(kMaxGroups);
    auto bytes = static_cast<socklen_t>(groups.size() * sizeof(gid_t));
    const bool got = ::getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, groups.data(), &bytes) == 0;
    groups.resize(got ? bytes / sizeof(gid_t) : 0);
    return groups;
}

/// May who bound the socket open the device's group, as a broker must? Anybody can bind its name, and would be shown a
/// descriptor of the memory.
bool may_hold_device(int socket, const Peer& peer, const std::string& pci_address) {
    const VfioPlaces places;
    const std::string group = link_name(places.device(pci_address) + "/iommu_group");
    struct stat node {};
    if (group.empty() || ::stat((places.vfio + "/" + group).c_str(), &node) != 0) return false;
    if (node.st_uid == peer.uid) return (node.st_mode & S_IRUSR) != 0 && (node.st_mode & S_IWUSR) != 0;
    auto groups = groups_of(socket);
    groups.push_back(peer.gid);
    if (std::ranges::find(groups, node.st_gid) != groups.end())
        return (node.st_mode & S_IRGRP) != 0 && (node.st_mode & S_IWGRP) != 0;
    return (node.st_mode & S_IROTH) != 0 && (node.st_mode & S_IWOTH) != 0;
}

base::Status check_broker(int socket, const std::string& pci_address) {
    const Peer peer = peer_of(socket);
    if (peer.uid == 0 || peer.uid == ::geteuid() || may_hold_device(socket, peer, pci_address)) return {};
    return base::fail(VMRPC_NOT_PERMITTED,
                      fmt::format("{0}: user {1}, who may not open the device, listens in place of its broker: end "
                                  "process {2}; root can start {3} --stay {0} at boot",
                                  pci_address, peer.uid, peer.pid, kBrokerProgram));
}

/// Not shown to whom does not need it.
bool needs_proof(int socket) {
    return ::geteuid() != 0 && ::geteuid() != peer_of(socket).uid;
}

base::Result<std::string> program() {
    return find_program({kBrokerProgram, "VMRPC_DOORBELL", "it hands a guest's interrupts to its processes"});
}

/// Returns when the broker listens, or has ended: somebody else's was faster.
base::Status start_broker(const std::string& pci_address, base::Deadline deadline) {
    const auto path = program();
    if (!path) return tl::unexpected(path.error());
    std::array<int, 2> ends{-1, -1};
    const auto ready =
        notify::GuardedFd::made_by([&ends] { return ::pipe2(ends.data(), O_CLOEXEC) == 0 ? ends[0] : -1; });
    if (!ready.valid()) return base::fail_errno("cannot make a pipe", errno);
    auto theirs = notify::GuardedFd::made_by([&ends] { return ends[1]; });
    const std::array<int, 1> passed{theirs.get()};
    static_assert(kReadyFd == kFirstPassedFd);
    VMRPC_TRY(launch(*path, {kReadyOption, pci_address}, passed));
    theirs.reset();
    return wait_readable(ready.get(), deadline);
}

/// No socket: nobody listens. Waits while too many wait already.
base::Result<std::optional<notify::GuardedFd>> try_connect(const std::string& pci_address, base::Deadline deadline) {
    const BrokerName name = broker_name(pci_address);
    auto socket = make_socket(SOCK_SEQPACKET);
    if (!socket) return tl::unexpected(std::move(socket).error());
    while (::connect(socket->get(), reinterpret_cast<const sockaddr*>(&name.address), name.bytes) != 0) {
        if (errno == ECONNREFUSED) return std::nullopt;
        if (errno != EAGAIN && errno != EINTR)
            return base::fail_errno(fmt::format("{}: cannot connect to the broker", pci_address), errno);
        if (deadline.passed())
            return base::fail(VMRPC_TIMED_OUT, "waiting for the doorbell's broker: the time limit passed");
        ::usleep(kFullPauseUs);
    }
    return std::optional(std::move(*socket));
}

}  // namespace

base::Result<BrokerClient> BrokerClient::connect(const std::string& pci_address, int proof, base::Deadline deadline,
                                                 BrokerReply& opened) {
    if (!is_pci_address(pci_address))
        return base::fail(VMRPC_BAD_ADDRESS, fmt::format("{}: is no PCI address as 0000:00:05.0 is", pci_address));
    // A broker that has just ended, or that another process's took the place of, needs another try.
    for (int i = 0; i < kTries; ++i) {
        auto socket = try_connect(pci_address, deadline);
        if (!socket) return tl::unexpected(std::move(socket).error());
        if (!*socket) {
            VMRPC_TRY(start_broker(pci_address, deadline));
            socket = try_connect(pci_address, deadline);
            if (!socket) return tl::unexpected(std::move(socket).error());
            if (!*socket) continue;
        }
        VMRPC_TRY(check_broker((*socket)->get(), pci_address));
        BrokerClient client(std::move(**socket));
        BrokerRequest request;
        request.kind = static_cast<std::uint16_t>(BrokerRequestKind::kOpen);
        auto reply = client.ask(request, needs_proof(client.socket()) ? proof : -1, deadline);
        if (!reply && reply.error().status == VMRPC_PEER_LOST) continue;
        if (!reply) return tl::unexpected(std::move(reply).error());
        opened = std::move(*reply);
        return client;
    }
    return base::fail(VMRPC_NO_SERVER, fmt::format("{0}: {1} ends as soon as it is started: run {1} {0} to see why",
                                                   pci_address, kBrokerProgram));
}

base::Result<notify::GuardedFd> BrokerClient::vector(std::uint32_t vector, base::Deadline deadline) {
    BrokerRequest request;
    request.kind = static_cast<std::uint16_t>(BrokerRequestKind::kVector);
    request.vector = vector;
    auto reply = ask(request, -1, deadline);
    if (!reply) {
        // An answer that comes too late must not be taken for the next one's.
        if (reply.error().status != VMRPC_BAD_ARGUMENT) ::shutdown(socket_.get(), SHUT_RDWR);
        return tl::unexpected(std::move(reply).error());
    }
    // Whoever reads it must not be blocked by another reader of the same vector.
    const int flags = ::fcntl(reply->descriptor.get(), F_GETFL);
    if (reply->answer.vectors != vector || flags < 0 ||
        ::fcntl(reply->descriptor.get(), F_SETFL, flags | O_NONBLOCK) != 0) {
        ::shutdown(socket_.get(), SHUT_RDWR);
        return base::fail(VMRPC_POISONED, "the doorbell's broker answered with another vector");
    }
    return std::move(reply->descriptor);
}

base::Result<BrokerReply> BrokerClient::ask(const BrokerRequest& request, int proof, base::Deadline deadline) {
    const std::array<int, 1> proofs{proof};
    VMRPC_TRY(send_message(socket_.get(), bytes_of(request), std::span(proofs).first(proof < 0 ? 0 : 1)));
    BrokerReply reply;
    Received received;
    while (received.arrival == Arrival::kNothingYet) {
        if (auto waited = wait_readable(socket_.get(), deadline); !waited)
            return base::fail(waited.error().status, "waiting for the doorbell's broker: " + waited.error().text);
        received = receive_message(socket_.get(), writable_bytes_of(reply.answer), Descriptors::kWanted);
    }
    if (received.arrival == Arrival::kEnd) return base::fail(VMRPC_PEER_LOST, "the doorbell's broker has ended");
    const BrokerAnswer& answer = reply.answer;
    const bool is_refused = answer.status != VMRPC_OK;
    reply.descriptor = std::move(received.descriptors[0]);
    if (!received.is_whole || received.bytes != sizeof answer || answer.magic != kBrokerMagic ||
        answer.kind != request.kind || is_refused == reply.descriptor.valid())
        return base::fail(VMRPC_POISONED, "what answers for the doorbell's broker does not speak its protocol");
    if (!is_refused) return reply;
    return base::fail(base::failure_from_peer(answer.status),
                      std::string(answer.text.data(), ::strnlen(answer.text.data(), answer.text.size())));
}

}  // namespace vmrpc::transport::vm
