#include "call/pending_call.hpp"

#include "notify/fork_guard.hpp"

#include <mutex>
#include <vector>

namespace vmrpc::call {
namespace {

// Under ForkLock::kHandles: tokens are handles, too. Never destroyed: connections may be closed while the process ends.
struct Unused {
    std::vector<PendingCalls*> calls;
    std::size_t made = 0;
};
Unused& unused() {
    static auto& all = *new Unused;
    return all;
}

}  // namespace

OwnPendingCalls take_pending_calls() {
    const std::scoped_lock lock(notify::fork_lock(notify::ForkLock::kHandles));
    Unused& all = unused();
    if (all.calls.empty()) {
        all.calls.reserve(++all.made);  // so that giving them back needs no memory
        return OwnPendingCalls(new PendingCalls);
    }
    OwnPendingCalls taken(all.calls.back());
    all.calls.pop_back();
    return taken;
}

void ReusePendingCalls::operator()(PendingCalls* calls) const noexcept {
    const std::scoped_lock lock(notify::fork_lock(notify::ForkLock::kHandles));
    unused().calls.push_back(calls);
}

}  // namespace vmrpc::call
