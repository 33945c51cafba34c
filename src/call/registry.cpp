// The numbers that this process knows functions by.
#include "call/function.hpp"

#include <fmt/format.h>

#include <array>
#include <atomic>
#include <mutex>
#include <unordered_map>

namespace vmrpc::call {
namespace {

struct Registry {
    std::mutex mutex;
    std::unordered_map<std::string, std::uint32_t> ids;  // by signature and flags; under mutex
    std::uint32_t count = 0;                             // under mutex
};

// Never destroyed: threads may still call while the process ends.
Registry& registry() {
    static auto& made = *new Registry;
    return made;
}

/// Flags do not enter the signature, but they matter to this process.
std::string key_of(const Function& function) {
    std::string key = function.signature();
    for (const Argument& argument : function.arguments()) key += static_cast<char>('0' + argument.flags);
    return key;
}

base::Result<std::uint32_t> add(Function function) {
    Registry& all = registry();
    const std::scoped_lock lock(all.mutex);
    const auto [entry, is_new] = all.ids.try_emplace(key_of(function), all.count + 1);
    if (!is_new) return entry->second;
    if (all.count + 1 == kMaxFunctions) {
        all.ids.erase(entry);
        return base::fail(VMRPC_OUT_OF_RESOURCES, fmt::format("more than {} different functions in one process",  //
                                                              kMaxFunctions - 1));
    }
    detail::functions[++all.count] = new Function(std::move(function));
    return all.count;
}

}  // namespace

constinit std::array<const Function*, kMaxFunctions> detail::functions{};

base::Result<Registered> registered(vmrpc_impl_function& declaration) {
    const std::atomic_ref<std::uint32_t> published(declaration.id);
    // acquire: pairs with the release below, so that the function is seen with its number
    std::uint32_t id = published.load(std::memory_order_acquire);
    if (id == 0) {
        auto function = Function::from(declaration);
        VMRPC_TRY(function);
        auto added = add(*std::move(function));
        VMRPC_TRY(added);
        id = *added;
        published.store(id, std::memory_order_release);
    }
    if (id >= kMaxFunctions)
        return base::fail(VMRPC_BAD_ARGUMENT, fmt::format("a declaration with id {}: it must be 0 at first", id));
    return Registered{detail::functions[id], id};
}

}  // namespace vmrpc::call
