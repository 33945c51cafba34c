#include "vm/worker.hpp"

#include "base/clock.hpp"
#include "support/interrupt.hpp"

#include <fmt/format.h>

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <stdexcept>
#include <system_error>
#include <utility>

namespace vmrpc::bench {
namespace {

using std::chrono_literals::operator""ms;

base::Fd listen_at(const std::string& path) {
    base::Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
        ::listen(socket.get(), 1) != 0)
        throw std::system_error(errno, std::generic_category(), "cannot listen for QEMU at " + path);
    return socket;
}

vm::GuestOptions with_port(vm::GuestOptions options, const std::string& port_socket, std::int64_t until_ns) {
    options.ports = {{kPortName, fmt::format("socket,path={}", port_socket)}};
    const std::int64_t left_ms = (until_ns - base::now_ns()) / 1'000'000;
    options.limit = std::chrono::milliseconds(std::max<std::int64_t>(1, left_ms)) + 5'000ms;
    return options;
}

}  // namespace

Worker::Worker(const std::string& port_socket, vm::GuestOptions options, std::int64_t until_ns)
    : until_ns_(until_ns),
      listening_(listen_at(port_socket)),
      guest_(with_port(std::move(options), port_socket, until_ns)) {
    while (!port_.valid()) {
        if (guest_.wait_for(20ms)) ended();
        port_.reset(::accept4(listening_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    }
    receive();  // it is ready
}

Answer Worker::follow(const Order& order) {
    if (::send(port_.get(), &order, sizeof order, MSG_NOSIGNAL) != static_cast<ssize_t>(sizeof order)) ended();
    const Answer answer = receive();
    if (!answer.measured) throw std::runtime_error(fmt::format("in the guest: {}", answer.why.data()));
    return answer;
}

Answer Worker::receive() {
    Answer answer;
    auto* to = reinterpret_cast<char*>(&answer);
    for (std::size_t got = 0; got < sizeof answer;) {
        wait_readable(port_.get(), until_ns_);
        const ssize_t bytes = ::read(port_.get(), to + got, sizeof answer - got);
        if (bytes <= 0) ended();
        got += static_cast<std::size_t>(bytes);
    }
    return answer;
}

void Worker::ended() {
    const auto result = guest_.wait();
    throw std::runtime_error(
        fmt::format("the guest has ended: {} {}\n{}", to_string(result.outcome), result.message, guest_.output()));
}

}  // namespace vmrpc::bench
