#include "echo.hpp"
#include "failure.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <utility>

namespace demo {

Descriptor::Descriptor(Descriptor&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    return *this;
}
Descriptor::~Descriptor() {
    if (descriptor_ >= 0) ::close(descriptor_);
}

EchoPlace EchoPlace::beside(const std::string& address) {
    constexpr std::string_view scheme = "local:";
    EchoPlace place;
    if (!address.starts_with(scheme)) return place;
    const std::string path = address.substr(scheme.size()) + ".echo";
    sockaddr_un unix_address{};
    unix_address.sun_family = AF_UNIX;
    if (path.size() >= sizeof unix_address.sun_path)
        throw Failure(
            fmt::format("the echo's path {} is longer than a Unix socket's may be: choose a shorter address", path));
    path.copy(static_cast<char*>(unix_address.sun_path), path.size());
    std::memcpy(&place.storage_, &unix_address, sizeof unix_address);
    place.bytes_ = sizeof unix_address;
    return place;
}

EchoPlace EchoPlace::tcp(const std::string& host_and_port) {
    const std::size_t colon = host_and_port.rfind(':');
    const std::string host = host_and_port.substr(0, colon);
    const std::string port = colon == std::string::npos ? "" : host_and_port.substr(colon + 1);
    sockaddr_in internet{};
    internet.sin_family = AF_INET;
    in_port_t number = 0;
    const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
    if (error != std::errc{} || end != port.data() + port.size() ||
        ::inet_pton(AF_INET, host.c_str(), &internet.sin_addr) != 1)
        throw Failure(
            fmt::format("--echo-tcp: \"{}\" is not an IPv4 address and a port, such as 127.0.0.1:7000", host_and_port));
    internet.sin_port = htons(number);
    EchoPlace place;
    std::memcpy(&place.storage_, &internet, sizeof internet);
    place.bytes_ = sizeof internet;
    return place;
}

EchoPlace EchoPlace::of(int listening) {
    EchoPlace place;
    place.bytes_ = sizeof place.storage_;
    if (::getsockname(listening, reinterpret_cast<sockaddr*>(&place.storage_), &place.bytes_) != 0)
        throw system_failure("the echo's own address", errno);
    return place;
}

std::string EchoPlace::text() const {
    if (!is_tcp()) {
        sockaddr_un unix_address{};
        std::memcpy(&unix_address, &storage_, sizeof unix_address);
        return static_cast<const char*>(unix_address.sun_path);
    }
    sockaddr_in internet{};
    std::memcpy(&internet, &storage_, sizeof internet);
    std::array<char, INET_ADDRSTRLEN> host{};
    ::inet_ntop(AF_INET, &internet.sin_addr, host.data(), host.size());
    return fmt::format("{}:{}", host.data(), ntohs(internet.sin_port));
}

const sockaddr* EchoPlace::address() const {
    return reinterpret_cast<const sockaddr*>(&storage_);
}

Descriptor EchoPlace::make_socket() const {
    Descriptor made(::socket(storage_.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (made.get() < 0) throw system_failure("cannot make a socket for the echo", errno);
    const int on = 1;
    if (is_tcp() && ::setsockopt(made.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0)
        throw system_failure("cannot set TCP_NODELAY for the echo", errno);
    return made;
}

EchoClient::EchoClient(const EchoPlace& place) : socket_(place.make_socket()) {
    if (::connect(socket_.get(), place.address(), place.bytes()) == 0) return;
    throw system_failure(
        fmt::format("no echo at {} (is the demo's server there, with the same options?)", place.text()), errno);
}

void EchoClient::round_trip() {
    char byte = 'v';
    if (::send(socket_.get(), &byte, 1, MSG_NOSIGNAL) != 1) throw system_failure("sending to the echo", errno);
    const ssize_t received = ::recv(socket_.get(), &byte, 1, 0);
    if (received < 0) throw system_failure("waiting for the echo", errno);
    if (received == 0) throw Failure("the server ended its echo: it is no longer running");
}

}  // namespace demo
