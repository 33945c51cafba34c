#include "call/worker_pool.hpp"

#include "call/server_connection.hpp"

#include <fmt/format.h>

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <limits>
#include <system_error>

namespace vmrpc::call {
namespace {

/// Calls that are kept for later ones; more were in flight at a time only now and then.
constexpr std::size_t kMostSpareCalls = 256;

/// A worker inherits the mask: signals are for the threads of the program.
class WithoutSignals {
  public:
    WithoutSignals() {
        sigset_t all;
        ::sigfillset(&all);
        ::pthread_sigmask(SIG_SETMASK, &all, &before_);
    }
    WithoutSignals(const WithoutSignals&) = delete;
    WithoutSignals& operator=(const WithoutSignals&) = delete;
    ~WithoutSignals() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

  private:
    sigset_t before_{};
};

}  // namespace

void PooledCall::begin(ServerConnection& connection, ServerLane& on_lane, const CheckedRequest& checked,
                       const FunctionTable::Entry& function) {
    RunningCall::begin(connection, checked.deadline());
    lane = &on_lane;
    lane_sequence = checked.sequence;
    depth = checked.body.depth;
    request = checked;
    entry = function;
}

ServerConnection& PooledCall::connection() const {
    return static_cast<ServerConnection&>(*endpoint());
}

WorkerPool::WorkerPool(const Options& options, std::function<void()> wake_server)
    : options_{options.workers,
               options.most_of_a_client == 0 ? std::numeric_limits<std::uint32_t>::max() : options.most_of_a_client},
      wake_server_(std::move(wake_server)) {}

WorkerPool::~WorkerPool() {
    end_all();
    {
        const std::scoped_lock lock(mutex_);
        is_stopping_ = true;
    }
    has_work_.notify_all();
    for (std::thread& thread : threads_) thread.join();
}

base::Status WorkerPool::start() {
    try {
        const WithoutSignals masked;
        frames_.reserve(options_.workers);
        threads_.reserve(options_.workers);
        while (threads_.size() < options_.workers) {
            // Not cleared: most of a frame is never touched.
            if (frames_.size() == threads_.size()) frames_.push_back(std::make_unique_for_overwrite<ServerFrame>());
            threads_.emplace_back([this, frame = frames_.back().get()] { work(*frame); });
        }
    } catch (const std::system_error& error) {
        return base::fail(VMRPC_OUT_OF_RESOURCES,
                          fmt::format("cannot start worker {} of {}: {}; raise the limit of threads, or set fewer "
                                      "workers",
                                      threads_.size() + 1, options_.workers, error.what()));
    }
    return {};
}

void WorkerPool::add(ServerConnection& connection, ServerLane& lane, const CheckedRequest& request,
                     const FunctionTable::Entry& entry) {
    bool wakes = false;
    {
        const std::scoped_lock lock(mutex_);
        ClientCalls& calls = connection.pooled();
        if (spare_.empty()) spare_.emplace_back();
        if (!calls.has_turn) turns_.push_back(&connection);
        calls.has_turn = true;
        calls.waiting.splice(calls.waiting.end(), spare_, spare_.begin());
        calls.waiting.back().begin(connection, lane, request, entry);
        lane.enter_pool(request.body.slot);
        ++count_;
        wakes = idle_workers_ != 0;
    }
    if (wakes) has_work_.notify_one();
}

void WorkerPool::cancel(ServerConnection& connection, const ServerLane& lane, std::uint64_t sequence) {
    const auto is_meant = [&](const PooledCall& call) {
        return call.lane == &lane && call.request.sequence == sequence;
    };
    {
        const std::scoped_lock lock(mutex_);
        ClientCalls& calls = connection.pooled();
        for (PooledCall& call : running_) {
            if (is_meant(call)) call.cancel();
        }
        const auto found = std::find_if(calls.waiting.begin(), calls.waiting.end(), is_meant);
        if (found == calls.waiting.end()) return;
        connection.answer(*found, VMRPC_CANCELLED, "the call was cancelled before it ran");
        drop(calls.waiting, found);
    }
    has_work_.notify_one();  // an ordered call may have waited for this one
}

bool WorkerPool::keeps(ServerConnection& connection) {
    const std::scoped_lock lock(mutex_);
    ClientCalls& calls = connection.pooled();
    while (!calls.waiting.empty()) drop(calls.waiting, calls.waiting.begin());
    turns_.remove(&connection);
    calls.has_turn = false;
    calls.is_awaited = calls.running != 0;
    return calls.is_awaited;
}

bool WorkerPool::runs_for(ServerConnection& connection) {
    const std::scoped_lock lock(mutex_);
    ClientCalls& calls = connection.pooled();
    calls.is_awaited = calls.running != 0;
    return calls.is_awaited;
}

bool WorkerPool::is_idle() {
    const std::scoped_lock lock(mutex_);
    waits_for_idle_ = count_ != 0;
    return count_ == 0;
}

void WorkerPool::end_all() {
    const std::scoped_lock lock(mutex_);
    for (ServerConnection* client : turns_) {
        ClientCalls& calls = client->pooled();
        while (!calls.waiting.empty()) {
            client->answer(calls.waiting.front(), VMRPC_SHUTTING_DOWN, "the server stopped before the call ran");
            drop(calls.waiting, calls.waiting.begin());
        }
        calls.has_turn = false;
    }
    turns_.clear();
    for (PooledCall& call : running_) call.cancel();
}

void WorkerPool::work(ServerFrame& frame) {
    ::pthread_setname_np(::pthread_self(), "vmrpc-worker");
    std::unique_lock lock(mutex_);
    for (;;) {
        PooledCall* call = nullptr;
        ++idle_workers_;
        has_work_.wait(lock, [&] { return is_stopping_ || (call = next()) != nullptr; });
        --idle_workers_;
        if (call == nullptr) return;
        // What ended before may have let more than one call run.
        if (idle_workers_ != 0 && has_runnable()) has_work_.notify_one();
        lock.unlock();
        call->connection().serve_pooled(*call, frame);
        lock.lock();
        finish(*call);
    }
}

/// Of the client whose turn it is, the first call that may run; taken out of those that wait. nullptr if there is none.
PooledCall* WorkerPool::next() {
    for (std::size_t left = turns_.size(); left != 0; --left) {
        ClientCalls& calls = turns_.front()->pooled();
        const Place found = first_runnable(calls);
        const bool is_found = found != calls.waiting.end();
        if (is_found) {
            running_.splice(running_.end(), calls.waiting, found);
            found->place = found;
            PooledFunction& function = *found->entry.pooled;
            ++function.running;
            ++calls.running;
            calls.runs_ordered |= function.is_ordered;
        }
        calls.has_turn = !calls.waiting.empty();
        if (calls.has_turn)
            turns_.splice(turns_.end(), turns_, turns_.begin());
        else
            turns_.pop_front();
        if (is_found) return &*found;
    }
    return nullptr;
}

/// Those of ordered functions run one after the other: one that cannot run yet holds up the others behind it.
WorkerPool::Place WorkerPool::first_runnable(ClientCalls& calls) const {
    if (calls.running >= options_.most_of_a_client) return calls.waiting.end();
    bool ordered_wait = calls.runs_ordered;
    return std::find_if(calls.waiting.begin(), calls.waiting.end(), [&](const PooledCall& call) {
        const PooledFunction& function = *call.entry.pooled;
        const bool may_run = function.running < function.most_running && !(function.is_ordered && ordered_wait);
        ordered_wait |= function.is_ordered;
        return may_run;
    });
}

bool WorkerPool::has_runnable() const {
    return std::any_of(turns_.begin(), turns_.end(), [this](ServerConnection* client) {
        return first_runnable(client->pooled()) != client->pooled().waiting.end();
    });
}

/// The call was answered. Its connection may go as soon as the mutex is free.
void WorkerPool::finish(PooledCall& call) {
    ClientCalls& calls = call.connection().pooled();
    PooledFunction& function = *call.entry.pooled;
    --function.running;
    --calls.running;
    if (function.is_ordered) calls.runs_ordered = false;
    drop(running_, call.place);
    if ((calls.is_awaited && calls.running == 0) || (waits_for_idle_ && count_ == 0)) wake_server_();
}

void WorkerPool::drop(std::list<PooledCall>& from, Place place) {
    --count_;
    if (spare_.size() < kMostSpareCalls)
        spare_.splice(spare_.end(), from, place);
    else
        from.erase(place);
}

}  // namespace vmrpc::call
