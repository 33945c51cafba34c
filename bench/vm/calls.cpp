// The guest's side of the calls.
#include "vm/calls.hpp"

#include "support/must.hpp"
#include "vm/functions.hpp"

#include <unistd.h>

#include <cstring>
#include <optional>

namespace vmrpc::bench {
namespace {

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
Figures data_call(const Effort& effort, const std::string& address, Call&& call,
                  std::int64_t spin = VMRPC_SPIN_ALWAYS) {
    const Client client = join(address, spin);
    return measure(effort, ::getpid(), [&](int calls) {
        for (int i = 0; i < calls; ++i) call(client);
    });
}

}  // namespace

Client join(const std::string& address, std::int64_t spin) {
    return must(Client::connect(address, {.spin = std::chrono::nanoseconds(spin), .trust_peer = true}));
}

Figures null_call(const Effort& effort, const std::string& address, std::int64_t spin) {
    return data_call(
        effort, address, [](const Client& client) { must(client.call<nothing>()); }, spin);
}

Figures connect_call(const Effort& effort, const std::string& address) {
    std::optional<Client> client;
    return measure_apart(
        effort, [&](int) { client.reset(); }, [&](int) { client = join(address, VMRPC_SPIN_ALWAYS); });
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
