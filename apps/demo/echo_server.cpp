#include "echo.hpp"
#include "failure.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace demo {
namespace {

void echo(int socket) {
    char byte = 0;
    while (::recv(socket, &byte, 1, 0) == 1 && ::send(socket, &byte, 1, MSG_NOSIGNAL) == 1) {
    }
}

}  // namespace

EchoServer::EchoServer(const EchoPlace& place) : place_(place), listening_(place.make_socket()) {
    const int on = 1;
    if (place.is_tcp())
        ::setsockopt(listening_.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    else
        ::unlink(place.text().c_str());  // a dead server's: a live one would hold the address that it is beside
    if (::bind(listening_.get(), place.address(), place.bytes()) != 0 || ::listen(listening_.get(), SOMAXCONN) != 0)
        throw system_failure(fmt::format("cannot serve the echo at {}", place.text()), errno);
    accepting_ = std::thread([this] { accept_clients(); });
}

EchoServer::~EchoServer() {
    ::shutdown(listening_.get(), SHUT_RDWR);
    accepting_.join();
    for (Client& client : clients_) {
        ::shutdown(client.socket.get(), SHUT_RDWR);
        client.thread.join();
    }
    if (!place_.is_tcp()) ::unlink(place_.text().c_str());
}

void EchoServer::accept_clients() {
    while (true) {
        Descriptor socket(::accept4(listening_.get(), nullptr, nullptr, SOCK_CLOEXEC));
        if (socket.get() < 0 && (errno == EINTR || errno == ECONNABORTED)) continue;
        if (socket.get() < 0) return;
        const int on = 1;
        if (place_.is_tcp()) ::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        const int number = socket.get();
        clients_.push_back({std::move(socket), std::thread([number] { echo(number); })});
    }
}

}  // namespace demo
