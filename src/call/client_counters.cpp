#include "call/client_counters.hpp"

namespace vmrpc::call {

void ClientFunctions::add(const Registered& function, std::uint32_t index) {
    const std::scoped_lock lock(mutex_);
    if (by_id_[function.id].load(std::memory_order_relaxed) != nullptr) return;
    ClientFunction& added = (*made_.emplace_back(std::make_unique<Made>(1)))[0];
    added.function = function.function;
    added.index = index;
    by_id_[function.id].store(&added, std::memory_order_release);
}

void ClientFunctions::count_failure(const Function& function, vmrpc_status status) {
    const std::scoped_lock lock(mutex_);
    for (const auto& each : made_) {
        if ((*each)[0].function == &function) return (*each)[0].count_failure(status);
    }
}

}  // namespace vmrpc::call
