#include "vm/client.hpp"

#include "vm/messages.hpp"
#include "vm/workloads.hpp"

#include <fmt/format.h>

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <exception>
#include <stdexcept>
#include <system_error>

namespace vmrpc::bench {
namespace {

Answer measure_one(const Order& order, const Places& places) {
    Answer answer{.measured = true};
    if (order.list == Order::List::kWatches) {
        answer.idle = guest_watches(order.scale).at(order.index).watch(places);
        answer.has_vfio = vfio_has_a_device();
        return answer;
    }
    const auto workloads = guest_workloads(order.scale);
    const GuestWorkload& workload = workloads.at(order.index);
    answer.figures = workload.call(workload.effort, places);
    answer.figures.cpu_ns = kUnknown;  // the host's part cannot be seen from here
    return answer;
}

Answer follow(const Order& order, const Places& places) {
    try {
        return measure_one(order, places);
    } catch (const std::exception& exception) {
        return Answer::failed(exception.what());
    }
}

void send(int port, const Answer& answer) {
    if (::write(port, &answer, sizeof answer) != static_cast<ssize_t>(sizeof answer))
        throw std::system_error(errno, std::generic_category(), "cannot answer the host");
}

}  // namespace

void take_orders(const PlacesWords& words) {
    const base::Fd port(::open(fmt::format("/dev/virtio-ports/{}", kPortName).c_str(), O_RDWR | O_CLOEXEC));
    if (!port.valid()) throw std::system_error(errno, std::generic_category(), "cannot open the port to the host");
    const Places places(words);
    send(port.get(), {.measured = true});  // ready
    for (Order order; ::read(port.get(), &order, sizeof order) == static_cast<ssize_t>(sizeof order);)
        send(port.get(), follow(order, places));
}

}  // namespace vmrpc::bench
