// What a client counts of each function that it calls, and how long its calls take: of some, as two looks at the clock
// take as long as a short call.
#pragma once

#include "base/clock.hpp"
#include "base/lazy_array.hpp"
#include "call/client_lane.hpp"
#include "call/counters.hpp"
#include "call/function.hpp"

#include <vmrpc/vmrpc.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

namespace vmrpc::call {

/// Of one function, by any thread.
struct alignas(base::kLineBytes) ClientFunction {
    ClientFunction(const Function& called, std::uint32_t its_index) : function(&called), index(its_index) {}

    const Function* function;
    std::uint32_t index;      // the server's
    Counter errors;           // calls that failed
    Counter deadline_misses;  // among them: out of time
    Counter samples;          // calls that were timed
    base::Histogram duration_ns;

    /// Whether so few calls were timed that the next one is to be timed too.
    [[nodiscard]] bool wants_samples() const { return samples.value() < kFirstTimed; }
    void count_failure(vmrpc_status status) {
        errors.add();
        if (status == VMRPC_TIMED_OUT) deadline_misses.add();
    }
};

/// The functions that one client has resolved. Threads: any.
class ClientFunctions {
  public:
    /// The function was resolved, and may be called; once more does nothing. Throws std::bad_alloc.
    void add(const Registered& function, std::uint32_t index);
    /// nullptr if the function was not added, or only just now.
    [[nodiscard]] ClientFunction* find(std::uint32_t id) const noexcept {
        // acquire: pairs with the release in add(), so that the counters are seen
        return by_id_[id].counters.load(std::memory_order_acquire);
    }
    /// known_word() of a function that was added, else 0.
    [[nodiscard]] std::uint64_t known(std::uint32_t id) const noexcept {
        // relaxed: an index means nothing but itself
        return by_id_[id].known.load(std::memory_order_relaxed);
    }
    /// A call of the function has failed, of which nothing else is known: looks for it.
    void count_failure(const Function& function, vmrpc_status status);
    /// Calls `visit` with each, in the order in which they were resolved.
    template <class Visit>
    void for_each(Visit&& visit) const {
        const std::scoped_lock lock(mutex_);
        for (const auto& each : made_) visit(*each);
    }

  private:
    /// By Registered::id, of all functions of this process.
    struct Resolved {
        std::atomic<std::uint64_t> known;
        std::atomic<ClientFunction*> counters;
    };

    base::LazyArray<Resolved> by_id_{kMaxFunctions};
    mutable std::mutex mutex_;
    std::vector<std::unique_ptr<ClientFunction>> made_;  // under mutex_
};

/// Times one call, if it is one that is to be timed. On the calling thread's stack.
class Sample {
  public:
    /// `lane`: the thread's own, if it has one. Begins now.
    Sample(ClientFunction* function, ClientLane* lane) noexcept : function_(function) {
        const bool is_due = lane != nullptr && lane->is_sample_due();
        if (function == nullptr || !(is_due || function->wants_samples())) return;
        if (is_due) lane->plan_sample();
        start_ns_ = base::now_ns();
    }
    /// The call is over. `lane` as above, or the one that the thread has by now.
    void end(ClientLane* lane) noexcept {
        if (start_ns_ == 0) return;
        function_->duration_ns.count(static_cast<std::uint64_t>(base::now_ns() - start_ns_));
        function_->samples.add();
        if (lane != nullptr && function_->wants_samples()) lane->sample_next();
    }
    /// There was no call: the next one is to be timed instead.
    void cancel(ClientLane* lane) noexcept {
        if (start_ns_ != 0 && lane != nullptr) lane->sample_next();
        start_ns_ = 0;
    }

  private:
    ClientFunction* function_;
    std::int64_t start_ns_ = 0;  // 0: not timed
};

}  // namespace vmrpc::call
