// The serving loop: rounds over the connections in use, and sleep when there are none.
#include "base/cpu.hpp"
#include "server.hpp"

#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <tuple>

namespace vmrpc {
namespace {

/// A hot connection that was quiet for so many rounds while others were not becomes an idle one.
constexpr std::uint32_t kQuietRounds = 4096;
/// While some connections are hot, the idle ones' rings are looked at once in so many turns.
constexpr std::uint32_t kTurnsPerLook = 256;

const notify::SpinBudget kNoSpinning(notify::SpinBudget::kNever);

}  // namespace

void ServerLoop::serve() {
    note_cpu();
    const auto stopping = [this] { return stops() != 0; };
    while (!stopping()) {
        const auto& budget = can_gain_by_spinning() ? spin_ : kNoSpinning;
        if (notify::spin(budget, {}, [&] { return round() || stopping(); })) {
            spin_.gained();
            continue;
        }
        notify::sleep_after(spin_, [&] { sleep(); });
    }
}

/// The thread that serves is this one.
void ServerLoop::note_cpu() {
    only_cpu_ = base::only_cpu();
    for (auto& [link, connection] : connections_) tell_cpu(*connection);
}

/// A VM has numbers of its own for its CPUs, which tell nothing here, nor ours there.
void ServerLoop::tell_cpu(const Connection& connection) const {
    connection.control().server.poller_cpu.store_relaxed(connection.caller().vm == 0 ? only_cpu_ : -1);
}

/// Not if every client in use can only run on the one CPU that we run on.
bool ServerLoop::can_gain_by_spinning() const {
    if (only_cpu_ < 0) return true;
    return std::any_of(hot_.begin(), hot_.end(), [this](const Connection* connection) {
        return connection->caller().vm != 0 || connection->control().client.only_cpu.load_relaxed() != only_cpu_;
    });
}

/// Serves what is there on every hot connection. In as few loads as can be if there is nothing; the rest is looked at
/// once in a while. Returns whether there was anything.
bool ServerLoop::round() {
    turns_.add_alone();
    bool busy = turns_.value() % kTurnsPerLook == 0 && look_around();
    if (has_news_.load(std::memory_order_acquire)) {
        take_news();
        busy = true;
    }
    for (std::size_t i = 0; i < hot_.size();) {
        Connection& connection = *hot_[i];
        const std::uint32_t taken = is_draining_ ? connection.turn_away(functions_, *frame_)
                                                 : connection.poll(functions_, *frame_, hot_.size() == 1);
        if (taken != 0) {
            busy = true;
            taken_ += taken;
            connection.quiet_rounds = 0;
        }
        if (connection.is_over()) [[unlikely]] {
            const base::Error reason = connection.usable().error();
            dismiss(connection, &reason);  // takes it out of hot_
        } else {
            ++i;
        }
    }
    if (busy && hot_.size() > 1) {
        for (Connection* connection : hot_) ++connection->quiet_rounds;
    }
    if (busy) busy_turns_.add_alone();
    return busy;
}

/// Returns whether a client had freed something.
bool ServerLoop::look_around() {
    if (idle_count_ != 0) look_at_rings(0);
    if (hot_.size() > 1 && !spin_.is_endless()) demote_quiet();
    bool freed = false;
    for (Connection* connection : hot_) {
        if (!connection->has_remote_frees()) continue;
        std::ignore = connection->drain();  // a violation ends the connection, which the round notices
        freed = true;
    }
    return freed;
}

/// Hot connections that others outrun become idle: polling them is in vain, and they can ring.
void ServerLoop::demote_quiet() {
    for (std::size_t i = 0; i < hot_.size();) {
        Connection& connection = *hot_[i];
        if (connection.quiet_rounds < kQuietRounds) {
            ++i;
            continue;
        }
        connection.arm();
        // Pairs with the client's fence between posting and reading our ring-me generation (must_ring).
        std::atomic_thread_fence(std::memory_order_seq_cst);
        connection.quiet_rounds = 0;
        if (connection.pending()) {
            ++i;
            continue;
        }
        connection.is_hot = false;
        hot_.erase(hot_.begin() + static_cast<std::ptrdiff_t>(i));
        ++idle_count_;
    }
}

void ServerLoop::sleep() {
    if (!arm_all()) return;
    sleeps_.add_alone();
    look_at_rings(-1);
}

/// Makes every connection idle. False: something came meanwhile, and some connections are hot again.
bool ServerLoop::arm_all() {
    for (Connection* connection : hot_) connection->arm();
    // Arm, then look: pairs with the client's fence in must_ring(), so that either it rings or we see its request.
    std::atomic_thread_fence(std::memory_order_seq_cst);
    const std::size_t before = hot_.size();
    std::erase_if(hot_, [](Connection* connection) { return !(connection->is_hot = connection->pending()); });
    idle_count_ += before - hot_.size();
    return hot_.empty();
}

void ServerLoop::look_at_rings(int timeout_ms) {
    std::array<epoll_event, 64> events;
    const int count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), timeout_ms);
    for (int i = 0; i < count; ++i) {
        auto* connection = static_cast<Connection*>(events[static_cast<std::size_t>(i)].data.ptr);
        if (connection == nullptr || connection->is_hot) continue;
        connection->quiet_rounds = 0;
        connection->is_hot = true;
        hot_.push_back(connection);
        --idle_count_;
    }
}

}  // namespace vmrpc
