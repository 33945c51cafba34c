#include "notify/housekeeper.hpp"

#include "base/clock.hpp"
#include "base/log.hpp"
#include "notify/fork_guard.hpp"

#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <condition_variable>
#include <limits>
#include <map>
#include <mutex>
#include <set>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace vmrpc::notify {
namespace {

constexpr std::uint64_t kWakeId = 0;  // of the eventfd that makes the thread look again
constexpr std::int64_t kNsPerMs = 1'000'000;

thread_local const Housekeeper* own_housekeeper = nullptr;

// Keeps the signals of the program away from a thread that is started meanwhile. Faults stay: blocked, they would end
// the process before any handler could report them.
class SignalsBlocked {
  public:
    SignalsBlocked() {
        sigset_t all{};
        ::sigfillset(&all);
        for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT}) ::sigdelset(&all, fault);
        ::pthread_sigmask(SIG_SETMASK, &all, &before_);
    }
    SignalsBlocked(const SignalsBlocked&) = delete;
    SignalsBlocked& operator=(const SignalsBlocked&) = delete;
    ~SignalsBlocked() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

  private:
    sigset_t before_{};
};

}  // namespace

/// One life of the thread. After its end, and in a forked child, a new one is made.
class Housekeeper : public std::enable_shared_from_this<Housekeeper> {
  public:
    using Callback = std::function<void(std::uint32_t)>;

    static base::Result<Watch> add(int descriptor, std::uint32_t epoll_events, std::int64_t due_ns, Callback callback);
    void remove(std::uint64_t id) noexcept;
    void rearm(std::uint64_t id) noexcept;
    [[nodiscard]] bool is_of_this_process() const { return generation_ == process_generation(); }

  private:
    struct Entry {
        int descriptor;  // -1: a timer
        std::uint32_t epoll_events;
        std::int64_t due_ns;  // of a timer
        Callback callback;
    };

    static base::Result<std::shared_ptr<Housekeeper>> current();
    static void keep_for_ever(std::shared_ptr<Housekeeper> of_parent);
    base::Status start();
    base::Result<std::uint64_t> add_entry(Entry entry);
    void run();
    int wait_ms();
    void dispatch(std::uint64_t id, std::uint32_t happened);
    void call(std::shared_ptr<Entry> entry, std::uint32_t happened);
    void dispatch_timers();
    bool end_if_idle();
    void wake() noexcept;

    const std::uint32_t generation_ = process_generation();
    std::mutex mutex_;  // guards what follows; taken after ForkLock::kHousekeeper
    std::condition_variable call_ended_;
    GuardedFd epoll_;
    GuardedFd wake_;
    std::map<std::uint64_t, std::shared_ptr<Entry>> entries_;
    std::set<std::pair<std::int64_t, std::uint64_t>> timers_;  // due_ns, id
    std::uint64_t last_id_ = kWakeId;                          // ids are not used twice
    std::uint64_t called_id_ = kWakeId;                        // whose callback is running
    bool ended_ = false;
};

// What belongs to a parent process is never destroyed: its mutex may have been held at the fork. Requires
// ForkLock::kHousekeeper.
void Housekeeper::keep_for_ever(std::shared_ptr<Housekeeper> of_parent) {
    static auto& kept = *new std::vector<std::shared_ptr<Housekeeper>>();
    kept.push_back(std::move(of_parent));
}

base::Result<std::shared_ptr<Housekeeper>> Housekeeper::current() {
    // Never destroyed: a program's static objects may still hold connections.
    static auto& current = *new std::shared_ptr<Housekeeper>();
    const std::lock_guard lock(fork_lock(ForkLock::kHousekeeper));
    if (current != nullptr && current->is_of_this_process()) {
        const std::lock_guard inner(current->mutex_);
        if (!current->ended_) return current;
    }
    auto fresh = std::make_shared<Housekeeper>();
    VMRPC_TRY(fresh->start());
    if (current != nullptr && !current->is_of_this_process()) keep_for_ever(current);
    current = fresh;
    return fresh;
}

base::Status Housekeeper::start() {
    epoll_ = GuardedFd::made_by([] { return ::epoll_create1(EPOLL_CLOEXEC); });
    if (!epoll_.valid()) return base::fail_errno("cannot start the housekeeping thread: epoll_create1", errno);
    wake_ = GuardedFd::made_by([] { return ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); });
    if (!wake_.valid()) return base::fail_errno("cannot start the housekeeping thread: eventfd", errno);
    epoll_event event{};
    event.events = EPOLLIN | EPOLLET;
    event.data.u64 = kWakeId;
    if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, wake_.get(), &event) != 0)
        return base::fail_errno("cannot start the housekeeping thread: epoll_ctl", errno);
    const SignalsBlocked blocked;
    try {
        std::thread([self = shared_from_this()] { self->run(); }).detach();
    } catch (const std::system_error& error) {
        return base::fail_errno("cannot start the housekeeping thread", error.code().value());
    }
    return {};
}

base::Result<Watch> Housekeeper::add(int descriptor, std::uint32_t epoll_events, std::int64_t due_ns,
                                     Callback callback) {
    Entry entry{descriptor, epoll_events, due_ns, std::move(callback)};
    while (true) {
        auto housekeeper = current();
        if (!housekeeper) return tl::unexpected(std::move(housekeeper).error());
        auto id = (*housekeeper)->add_entry(entry);
        if (!id) return tl::unexpected(std::move(id).error());
        // kWakeId: the thread has ended between the two calls.
        if (*id != kWakeId) return Watch(std::move(*housekeeper), *id);
    }
}

base::Result<std::uint64_t> Housekeeper::add_entry(Entry entry) {
    const std::lock_guard lock(mutex_);
    if (ended_) return kWakeId;
    const std::uint64_t id = ++last_id_;
    const int descriptor = entry.descriptor;
    const std::int64_t due_ns = entry.due_ns;
    epoll_event event{};
    event.events = entry.epoll_events;
    event.data.u64 = id;
    auto& place = entries_[id] = std::make_shared<Entry>(std::move(entry));
    if (descriptor < 0) {
        timers_.emplace(due_ns, id);
        wake();
    } else {
        if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, descriptor, &event) != 0) {
            const int error = errno;
            place.reset();
            entries_.erase(id);
            wake();  // may have been all there was to do
            return base::fail_errno("cannot watch a descriptor", error);
        }
    }
    return id;
}

void Housekeeper::remove(std::uint64_t id) noexcept {
    std::shared_ptr<Entry> removed;  // destroyed, with what the callback captured, without the lock
    std::unique_lock lock(mutex_);
    if (const auto found = entries_.find(id); found != entries_.end()) {
        removed = std::move(found->second);
        entries_.erase(found);
        if (removed->descriptor >= 0)
            ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, removed->descriptor, nullptr);
        else
            timers_.erase({removed->due_ns, id});
        if (entries_.empty()) wake();
    }
    if (own_housekeeper != this) call_ended_.wait(lock, [&] { return called_id_ != id; });
    lock.unlock();
}

void Housekeeper::rearm(std::uint64_t id) noexcept {
    const std::lock_guard lock(mutex_);
    const auto found = entries_.find(id);
    if (found == entries_.end() || found->second->descriptor < 0) return;
    epoll_event event{};
    event.events = found->second->epoll_events;
    event.data.u64 = id;
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, found->second->descriptor, &event);
}

void Housekeeper::run() {
    ::pthread_setname_np(::pthread_self(), "vmrpc");
    own_housekeeper = this;
    while (!end_if_idle()) {
        std::array<epoll_event, 16> events{};
        const int count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), wait_ms());
        for (int i = 0; i < count && is_of_this_process(); ++i) {
            const epoll_event& event = events[static_cast<std::size_t>(i)];
            dispatch(event.data.u64, event.events);
        }
        if (is_of_this_process()) dispatch_timers();
        // A callback has forked, and this is the child, whose only thread has come to its end.
        if (!is_of_this_process()) {
            const std::lock_guard lock(fork_lock(ForkLock::kHousekeeper));
            keep_for_ever(shared_from_this());
            return;
        }
    }
}

int Housekeeper::wait_ms() {
    const std::lock_guard lock(mutex_);
    if (timers_.empty()) return -1;
    const std::int64_t left_ns = std::max<std::int64_t>(timers_.begin()->first - base::now_ns(), 0);
    return static_cast<int>(
        std::min<std::int64_t>((left_ns + kNsPerMs - 1) / kNsPerMs, std::numeric_limits<int>::max()));
}

void Housekeeper::dispatch(std::uint64_t id, std::uint32_t happened) {
    if (id == kWakeId) return;  // edge-triggered: nothing to read
    std::unique_lock lock(mutex_);
    const auto found = entries_.find(id);
    if (found == entries_.end()) return;  // removed after epoll_wait had returned
    auto entry = found->second;
    called_id_ = id;
    lock.unlock();
    call(std::move(entry), happened);
}

void Housekeeper::call(std::shared_ptr<Entry> entry, std::uint32_t happened) {
    try {
        entry->callback(happened);
    } catch (const std::exception& error) {
        base::log().error("a callback of the housekeeping thread failed: {}", error.what());
    }
    if (!is_of_this_process()) return;
    entry.reset();  // before the end is told: who waits for it may rely on what was captured being gone
    const std::lock_guard lock(mutex_);
    called_id_ = kWakeId;
    call_ended_.notify_all();
}

void Housekeeper::dispatch_timers() {
    const std::int64_t now = base::now_ns();
    while (is_of_this_process()) {
        std::unique_lock lock(mutex_);
        if (timers_.empty() || timers_.begin()->first > now) return;
        const std::uint64_t id = timers_.begin()->second;
        timers_.erase(timers_.begin());
        const auto found = entries_.find(id);
        auto entry = std::move(found->second);  // entry and timer come and go together
        entries_.erase(found);
        called_id_ = id;
        lock.unlock();
        call(std::move(entry), 0);
    }
}

bool Housekeeper::end_if_idle() {
    const std::lock_guard lock(mutex_);
    // An id was given out: the first registration does not find the thread gone before it has begun.
    if (!entries_.empty() || last_id_ == kWakeId) return false;
    ended_ = true;
    epoll_.reset();
    wake_.reset();
    return true;
}

void Housekeeper::wake() noexcept {
    const std::uint64_t one = 1;
    // Fails only when the counter is full, and then the thread has been woken already.
    if (own_housekeeper != this) static_cast<void>(!::write(wake_.get(), &one, sizeof one));
}

Watch::Watch(std::shared_ptr<Housekeeper> housekeeper, std::uint64_t id)
    : housekeeper_(std::move(housekeeper)), id_(id) {}

Watch::Watch(Watch&& other) noexcept : housekeeper_(std::move(other.housekeeper_)), id_(other.id_) {}

Watch& Watch::operator=(Watch&& other) noexcept {
    if (this != &other) {
        reset();
        housekeeper_ = std::move(other.housekeeper_);
        id_ = other.id_;
    }
    return *this;
}

void Watch::reset() noexcept {
    // Taken out first: a callback that destroys its own Watch may come here again.
    const auto housekeeper = std::exchange(housekeeper_, nullptr);
    if (housekeeper != nullptr && housekeeper->is_of_this_process()) housekeeper->remove(id_);
}

void Watch::rearm() const noexcept {
    if (housekeeper_ != nullptr && housekeeper_->is_of_this_process()) housekeeper_->rearm(id_);
}

base::Result<Watch> watch(int descriptor, std::uint32_t epoll_events, std::function<void(std::uint32_t)> callback) {
    if (descriptor < 0) return base::fail(VMRPC_BAD_ARGUMENT, "cannot watch a descriptor that is closed");
    return Housekeeper::add(descriptor, epoll_events, 0, std::move(callback));
}

base::Result<Watch> after(std::int64_t delay_ns, std::function<void()> callback) {
    return Housekeeper::add(-1, 0, base::now_ns() + std::max<std::int64_t>(delay_ns, 0),
                            [callback = std::move(callback)](std::uint32_t) { callback(); });
}

bool on_housekeeping_thread() noexcept {
    return own_housekeeper != nullptr && own_housekeeper->is_of_this_process();
}

}  // namespace vmrpc::notify
