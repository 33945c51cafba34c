#include "guest/client.hpp"

#include "guest/devices.hpp"
#include "guest/messages.hpp"
#include "guest/workloads.hpp"

#include <fmt/format.h>

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <exception>
#include <stdexcept>
#include <system_error>

namespace vmrpc::bench {
namespace {

Answer follow(const Order& order, const Places& places) {
    try {
        const auto workloads = guest_workloads(order.scale);
        const GuestWorkload& workload = workloads.at(order.workload);
        Answer answer{.measured = true, .figures = workload.call(workload.effort, places)};
        answer.figures.cpu_ns = kUnknown;  // the host's part cannot be seen from here
        return answer;
    } catch (const std::exception& exception) {
        return Answer::failed(exception.what());
    }
}

void send(int port, const Answer& answer) {
    if (::write(port, &answer, sizeof answer) != static_cast<ssize_t>(sizeof answer))
        throw std::system_error(errno, std::generic_category(), "cannot answer the host");
}

}  // namespace

void take_orders(std::uint16_t tcp_port) {
    const base::Fd port(::open(fmt::format("/dev/virtio-ports/{}", kPortName).c_str(), O_RDWR | O_CLOEXEC));
    if (!port.valid()) throw std::system_error(errno, std::generic_category(), "cannot open the port to the host");
    const FloorMemory floor;
    const Places places{.address = server_address(), .floor = floor.base(), .tcp_port = tcp_port};
    send(port.get(), {.measured = true});  // ready
    for (Order order; ::read(port.get(), &order, sizeof order) == static_cast<ssize_t>(sizeof order);)
        send(port.get(), follow(order, places));
}

}  // namespace vmrpc::bench
