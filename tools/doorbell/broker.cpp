#include "broker.hpp"

#include "proof.hpp"
#include "transport/socket.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>

namespace vmrpc::doorbell {
namespace {

using namespace transport::vm;  // NOLINT(google-build-using-namespace)

constexpr int kBacklog = 128;
constexpr std::size_t kMaxClients = 4000;
constexpr std::size_t kMaxStrangers = 64;  // not admitted yet
constexpr int kPauseMs = 10;
constexpr std::size_t kBeforeClients = 2;  // of what is watched

BrokerAnswer answer_to(std::uint16_t kind) {
    BrokerAnswer answer;
    answer.kind = kind;
    return answer;
}

bool send(int socket, const BrokerAnswer& answer, int descriptor = -1) {
    const std::array<int, 1> descriptors{descriptor};
    // A client that leaves its answers lying until the socket is full is disconnected.
    return transport::send_message(socket, transport::bytes_of(answer),
                                   std::span(descriptors).first(descriptor < 0 ? 0 : 1))
        .has_value();
}

}  // namespace

base::Result<notify::GuardedFd> listen_for(const std::string& pci_address) {
    auto socket = transport::make_socket(SOCK_SEQPACKET);
    if (!socket) return socket;
    const BrokerName name = broker_name(pci_address);
    if (::bind(socket->get(), reinterpret_cast<const sockaddr*>(&name.address), name.bytes) != 0)
        return base::fail_errno(fmt::format("{}: another {} serves it", pci_address, kBrokerProgram), errno);
    if (::listen(socket->get(), kBacklog) != 0)
        return base::fail_errno(fmt::format("{}: cannot listen", pci_address), errno);
    return socket;
}

Broker::Broker(BrokerSettings settings, notify::GuardedFd listener, base::Result<VfioDevice> device)
    : settings_(std::move(settings)),
      listener_(std::move(listener)),
      device_(std::move(device)),
      idle_since_ns_(base::now_ns()) {}

void Broker::run(int stop) {
    while (!is_over()) {
        std::vector<pollfd> watched = this->watched(stop);
        if (::poll(watched.data(), watched.size(), next_limit().remaining_ms()) < 0 && errno != EINTR) return;
        if (watched[0].revents != 0) return;
        // Those at the end first, as those that leave make the others move up.
        for (std::size_t i = clients_.size(); i-- > 0;)
            if (watched[kBeforeClients + i].revents != 0 && !serve(clients_[i]))
                clients_.erase(clients_.begin() + static_cast<std::ptrdiff_t>(i));
        drop_silent();
        if (watched[1].revents != 0) accept_all();
    }
}

bool Broker::takes_more() const {
    const auto strangers = std::ranges::count_if(clients_, [](const Client& client) { return !client.is_admitted; });
    return clients_.size() < kMaxClients && static_cast<std::size_t>(strangers) < kMaxStrangers;
}

std::vector<pollfd> Broker::watched(int stop) const {
    std::vector<pollfd> watched;
    watched.push_back({stop, POLLIN, 0});
    watched.push_back({takes_more() ? listener_.get() : -1, POLLIN, 0});
    for (const Client& client : clients_) watched.push_back({client.socket.get(), POLLIN, 0});
    return watched;
}

base::Deadline Broker::next_limit() const {
    std::int64_t at_ns = base::Deadline::kNever;
    if (clients_.empty() && !settings_.stays) at_ns = idle_since_ns_ + settings_.idle_ns;
    for (const Client& client : clients_)
        if (!client.is_admitted) at_ns = std::min(at_ns, client.since_ns + settings_.silence_ns);
    return base::Deadline::at(at_ns);
}

void Broker::accept_all() {
    while (takes_more()) {
        Client client;
        client.socket = notify::GuardedFd::made_by(
            [this] { return ::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC); });
        if (!client.socket.valid()) {
            // No descriptors left: who waits is still there to be seen, so pause instead of trying for ever.
            if (errno == EMFILE || errno == ENFILE || errno == ENOMEM) ::poll(nullptr, 0, kPauseMs);
            return;
        }
        client.since_ns = base::now_ns();
        clients_.push_back(std::move(client));
    }
}

void Broker::drop_silent() {
    const std::int64_t now = base::now_ns();
    std::erase_if(clients_, [&](const Client& client) {
        return !client.is_admitted && now - client.since_ns >= settings_.silence_ns;
    });
}

bool Broker::is_over() {
    if (!clients_.empty()) {
        idle_since_ns_ = base::Deadline::kNever;
        return false;
    }
    const std::int64_t now = base::now_ns();
    if (idle_since_ns_ == base::Deadline::kNever) idle_since_ns_ = now;
    if (!device_ && has_told_) return true;  // the next one may find that what was missing is there
    return !settings_.stays && now - idle_since_ns_ >= settings_.idle_ns;
}

bool Broker::serve(Client& client) {
    BrokerRequest request;
    const auto wanted = client.is_admitted ? transport::Descriptors::kRefused : transport::Descriptors::kWanted;
    const auto received =
        transport::receive_message(client.socket.get(), transport::writable_bytes_of(request), wanted);
    if (received.arrival == transport::Arrival::kNothingYet) return true;
    if (received.arrival == transport::Arrival::kEnd || !received.is_whole || received.bytes != sizeof request ||
        request.magic != kBrokerMagic || request.reserved != 0)
        return false;
    if (request.version != kBrokerVersion)
        return refuse(client, request.kind,
                      {VMRPC_NOT_SUPPORTED,
                       fmt::format("{}: the broker is of another version of vmrpc: end the {} that runs (version {}, "
                                   "not {})",
                                   settings_.address, kBrokerProgram, kBrokerVersion, request.version)});
    const auto kind = static_cast<BrokerRequestKind>(request.kind);
    if (kind == BrokerRequestKind::kOpen && !client.is_admitted)
        return answer_open(client, received.descriptors[0].get());
    return kind == BrokerRequestKind::kVector && client.is_admitted && answer_vector(client, request.vector);
}

bool Broker::answer_open(Client& client, int proof) {
    BrokerAnswer answer = answer_to(static_cast<std::uint16_t>(BrokerRequestKind::kOpen));
    if (!device_) {
        has_told_ = true;
        return refuse(client, answer.kind, device_.error());
    }
    const auto allowed =
        check_client(transport::peer_of(client.socket.get()), proof, settings_.address, settings_.places);
    if (!allowed) return refuse(client, answer.kind, allowed.error());
    answer.vectors = static_cast<std::uint32_t>(device_->interrupts.size());
    answer.registers_offset = device_->registers.offset;
    answer.registers_bytes = device_->registers.bytes;
    answer.memory_offset = device_->memory.offset;
    answer.memory_bytes = device_->memory.bytes;
    client.is_admitted = true;
    return send(client.socket.get(), answer, device_->device.get());
}

bool Broker::answer_vector(const Client& client, std::uint32_t vector) const {
    BrokerAnswer answer = answer_to(static_cast<std::uint16_t>(BrokerRequestKind::kVector));
    if (vector < device_->interrupts.size()) {
        answer.vectors = vector;
        return send(client.socket.get(), answer, device_->interrupts[vector].get());
    }
    // No reason to disconnect: it is a wrong argument of the program that uses the library.
    static_cast<void>(refuse(client, answer.kind,
                             {VMRPC_BAD_ARGUMENT, fmt::format("{}: there is no vector {}: the device has {}",
                                                              settings_.address, vector, device_->interrupts.size())}));
    return true;
}

// Always false: who is refused is disconnected.
bool Broker::refuse(const Client& client, std::uint16_t kind, const base::Error& error) {
    BrokerAnswer answer = answer_to(kind);
    answer.status = error.status;
    error.text.copy(answer.text.data(), answer.text.size() - 1);
    static_cast<void>(send(client.socket.get(), answer));
    return false;
}

}  // namespace vmrpc::doorbell
