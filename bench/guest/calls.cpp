// The guest's side of the calls.
#include "guest/calls.hpp"

#include "guest/functions.hpp"
#include "support/must.hpp"

#include <unistd.h>

#include <cstring>
#include <optional>

namespace vmrpc::bench {
namespace {

Client join(const std::string& address) {
    return must(Client::connect(address, {.spin = std::chrono::nanoseconds(VMRPC_SPIN_ALWAYS), .trust_peer = true}));
}

void check(double sum, double expected) {
    if (sum != expected) throw std::runtime_error("the server's sum is wrong");
}

void call_bytes(const Client& client, std::size_t length) {
    const auto values = must(client.heap().make_array<char>(length * kStringBytes));
    std::memset(values.data(), 'v', values.size());
    check(must(client.call<sum_bytes>(values)), 'v' * static_cast<double>(values.size()));
}

void call_fixed(const Client& client, std::size_t length) {
    auto values = must(client.heap().make_array<Fixed>(length));
    for (std::size_t i = 0; i < length; ++i) values[i] = {static_cast<int>(i), 1, 2.0};
    const auto count = static_cast<double>(length);
    check(must(client.call<sum_fixed>(values)), count * (count - 1) / 2 + 3 * count);
}

void call_variable(const Client& client, std::size_t length) {
    const Heap heap = client.heap();
    auto values = must(heap.make_array<Variable>(length));
    for (Variable& value : values) {
        value = {static_cast<char*>(must(heap.allocate(kStringBytes, 1))), 2.0};
        std::memcpy(value.s, "vvvvvvvvv", kStringBytes);
    }
    const double sum = must(client.call<sum_variable>(values));
    for (const Variable& value : values) must(heap.free(value.s));
    check(sum, static_cast<double>(length) * ((kStringBytes - 1) * 'v' + 2.0));
}

template <class Call>
Figures data_call(const Effort& effort, const std::string& address, Call&& call) {
    const Client client = join(address);
    return measure(effort, ::getpid(), [&](int calls) {
        for (int i = 0; i < calls; ++i) call(client);
    });
}

}  // namespace

Figures null_call(const Effort& effort, const std::string& address) {
    return data_call(effort, address, [](const Client& client) { must(client.call<nothing>()); });
}

Figures connect_call(const Effort& effort, const std::string& address) {
    std::optional<Client> client;
    return measure_apart(
        effort, [&](int) { client.reset(); }, [&](int) { client = join(address); });
}

Figures bytes_call(const Effort& effort, const std::string& address, std::size_t length) {
    return data_call(effort, address, [length](const Client& client) { call_bytes(client, length); });
}

Figures fixed_call(const Effort& effort, const std::string& address, std::size_t length) {
    return data_call(effort, address, [length](const Client& client) { call_fixed(client, length); });
}

Figures variable_call(const Effort& effort, const std::string& address, std::size_t length) {
    return data_call(effort, address, [length](const Client& client) { call_variable(client, length); });
}

}  // namespace vmrpc::bench
