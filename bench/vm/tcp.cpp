#include "vm/tcp.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace vmrpc::bench {
namespace {

[[noreturn]] void fail(const char* what) {
    throw std::system_error(errno, std::generic_category(), what);
}

base::Fd make_socket() {
    base::Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!socket.valid()) fail("cannot make a TCP socket");
    return socket;
}

sockaddr_in place(const std::string& host, std::uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    ::inet_pton(AF_INET, host.c_str(), &address.sin_addr);
    return address;
}

void send_at_once(const base::Fd& socket) {
    const int yes = 1;
    if (::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes) != 0) fail("TCP_NODELAY");
}

}  // namespace

TcpEcho::TcpEcho(const std::string& host) : socket_(make_socket()) {
    auto address = place(host, 0);
    socklen_t bytes = sizeof address;
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    if (::bind(socket_.get(), generic, bytes) != 0 || ::listen(socket_.get(), 4) != 0 ||
        ::getsockname(socket_.get(), generic, &bytes) != 0)
        fail("cannot listen for the guest");
    port_ = ntohs(address.sin_port);
}

void TcpEcho::serve() const {
    for (;;) {
        const base::Fd peer(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC));
        if (!peer.valid()) continue;
        send_at_once(peer);
        char byte = 0;
        while (::read(peer.get(), &byte, 1) == 1 && ::write(peer.get(), &byte, 1) == 1) {
        }
    }
}

Figures tcp_call(const Effort& effort, const std::string& host, std::uint16_t port) {
    const base::Fd socket = make_socket();
    const auto address = place(host, port);
    if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
        fail("cannot connect to the host over TCP");
    send_at_once(socket);
    return measure(effort, ::getpid(), [&](int calls) {
        char byte = 'v';
        for (int i = 0; i < calls; ++i)
            if (::write(socket.get(), &byte, 1) != 1 || ::read(socket.get(), &byte, 1) != 1) fail("TCP");
    });
}

}  // namespace vmrpc::bench
