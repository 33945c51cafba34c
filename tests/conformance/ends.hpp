// Both ends of connections, as tests use them.
#pragma once

#include "base/clock.hpp"
#include "base/cpu.hpp"
#include "base/fd.hpp"
#include "layout/region.hpp"
#include "transport/transport.hpp"

#include <gtest/gtest.h>

#include <dirent.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace vmrpc::transport::conformance {

/// After which a test that waits has failed. Never a measure of anything.
inline constexpr std::int64_t kWatchdogNs = 30'000'000'000;

inline bool wait_until(const std::function<bool()>& done) {
    const auto deadline = base::Deadline::in(kWatchdogNs);
    while (!done()) {
        if (deadline.passed()) return false;
        ::usleep(500);
    }
    return true;
}

inline layout::ControlPage& control_of(const Link& link) {
    return *reinterpret_cast<layout::ControlPage*>(link.segment() + link.plan().region_offset);
}

/// The client's futex word.
inline const layout::SharedWord<std::uint32_t>& rung(const Link& client) {
    return control_of(client).rung[layout::index_of(layout::Side::kClient)].count;
}

/// Words of a side's arena, for a test's own use: that side writes them.
inline layout::SharedWord<std::uint64_t>& word(const Link& link, layout::Side side, std::size_t index = 0) {
    auto* arena = link.segment() + link.plan().arena_offset(side);
    return reinterpret_cast<layout::SharedWord<std::uint64_t>*>(arena)[index];
}

/// Keeps what a listener reports. Links are numbered from 0, in the order in which they were opened.
class ServerEnd final : public ListenerEvents {
  public:
    void opened(std::unique_ptr<ServerLink> link) override {
        if (on_opened) return on_opened(std::move(link));
        const std::scoped_lock lock(mutex_);
        kept_.push_back({std::move(link), 0});
    }
    void lost(ServerLink* link) override {
        if (on_lost) return on_lost(link);
        const std::scoped_lock lock(mutex_);
        for (Kept& kept : kept_) kept.losses += kept.link.get() == link ? 1 : 0;
    }

    void segment_ended(ServerLink* /*link*/, heap::HeapId /*heap*/) override { ++segments_ended_; }

    /// Null if it does not come before the watchdog.
    ServerLink* link(std::size_t number = 0) {
        ServerLink* found = nullptr;
        wait_until([&] {
            const std::scoped_lock lock(mutex_);
            if (number < kept_.size()) found = kept_[number].link.get();
            return found != nullptr;
        });
        return found;
    }
    /// How often the loss of that link was reported.
    int losses(std::size_t number = 0) {
        const std::scoped_lock lock(mutex_);
        return kept_[number].losses;
    }
    /// How many segments clients have given up.
    [[nodiscard]] int segments_ended() const { return segments_ended_; }
    /// Destroys a link; without the mutex, which lost() takes.
    void drop(std::size_t number = 0) {
        std::unique_ptr<ServerLink> dropped;
        {
            const std::scoped_lock lock(mutex_);
            dropped.swap(kept_[number].link);
        }
    }

    /// Set before listening, for tests that do something in the event itself; they replace the above.
    std::function<void(std::unique_ptr<ServerLink>)> on_opened;
    std::function<void(ServerLink*)> on_lost;

  private:
    struct Kept {
        std::unique_ptr<ServerLink> link;
        int losses;
    };
    std::mutex mutex_;
    std::vector<Kept> kept_;
    std::atomic<int> segments_ended_{0};
};

class ClientEnd final : public ClientEvents {
  public:
    void lost() override { ++losses; }
    std::atomic<int> losses{0};
};

/// A server's ring descriptor, watched as a server watches it.
class RingWatch {
  public:
    explicit RingWatch(const ServerLink& link) {
        epoll_event event{};
        event.events = EPOLLIN | EPOLLET;
        EXPECT_EQ(::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, link.ring_descriptor(), &event), 0);
    }
    /// Whether it was rung since the last call, or is within `timeout_ms`.
    [[nodiscard]] bool rung_within(int timeout_ms) const {
        epoll_event event{};
        return ::epoll_wait(epoll_.get(), &event, 1, timeout_ms) == 1;
    }

  private:
    base::Fd epoll_{::epoll_create1(EPOLL_CLOEXEC)};
};

inline int open_descriptors() {
    int count = 0;
    DIR* folder = ::opendir("/proc/self/fd");
    while (::readdir(folder) != nullptr) ++count;
    ::closedir(folder);
    return count;
}

inline int mapped_segments() {
    int count = 0;
    std::ifstream maps("/proc/self/maps");
    for (std::string line; std::getline(maps, line);) count += line.find("memfd:vmrpc") != std::string::npos ? 1 : 0;
    return count;
}

}  // namespace vmrpc::transport::conformance
