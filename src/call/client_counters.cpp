#include "call/client_counters.hpp"

namespace vmrpc::call {

void ClientFunctions::add(const Registered& function, std::uint32_t index) {
    const std::scoped_lock lock(mutex_);
    Resolved& resolved = by_id_[function.id];
    if (resolved.counters.load(std::memory_order_relaxed) != nullptr) return;
    auto& added = made_.emplace_back(std::make_unique<ClientFunction>(*function.function, index));
    resolved.counters.store(added.get(), std::memory_order_release);
    resolved.known.store(known_word(index, function.function->has_values()), std::memory_order_relaxed);
}

void ClientFunctions::count_failure(const Function& function, vmrpc_status status) {
    const std::scoped_lock lock(mutex_);
    for (const auto& each : made_) {
        if (each->function == &function) return each->count_failure(status);
    }
}

}  // namespace vmrpc::call
