// Says what hangs, and ends the process: for a test that must not wait for ever.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

namespace stress {

/// Looks once in a second whether each thread has come further. Counts its own looks, not the time: a machine that
/// stands still hangs nothing.
class Watch {
  public:
    static constexpr std::size_t kMostThreads = 16;

    /// `say` is given a line that tells what hangs, before the process ends with status 3.
    Watch(int patience, std::function<void(const std::string&)> say)
        : patience_(patience), say_(std::move(say)), thread_([this] { look(); }) {}
    Watch(const Watch&) = delete;
    Watch& operator=(const Watch&) = delete;
    ~Watch() {
        {
            const std::scoped_lock lock(mutex_);
            is_over_ = true;
        }
        over_.notify_all();
        thread_.join();
    }

    /// A thread, by its number, begins with something new. `what` lives as long as the program.
    void note(std::size_t thread, const char* what) {
        places_[thread].what.store(what, std::memory_order_relaxed);
        places_[thread].steps.fetch_add(1, std::memory_order_relaxed);
    }
    /// It is done, and will not be asked any more.
    void leave(std::size_t thread) { note(thread, nullptr); }

  private:
    struct Place {
        std::atomic<const char*> what{nullptr};
        std::atomic<std::uint64_t> steps{0};
        std::uint64_t seen = 0;
        int looks_without = 0;
    };

    void look() {
        std::unique_lock lock(mutex_);
        while (!over_.wait_for(lock, std::chrono::seconds(1), [this] { return is_over_; })) {
            for (std::size_t i = 0; i < places_.size(); ++i) look_at(i);
        }
    }
    void look_at(std::size_t thread) {
        Place& place = places_[thread];
        const char* const what = place.what.load(std::memory_order_relaxed);
        const std::uint64_t steps = place.steps.load(std::memory_order_relaxed);
        const bool is_stuck = what != nullptr && steps == std::exchange(place.seen, steps);
        place.looks_without = is_stuck ? place.looks_without + 1 : 0;
        if (place.looks_without < patience_) return;
        say_("hangs: thread " + std::to_string(thread) + ", step " + std::to_string(steps) + ": " + what);
        std::_Exit(3);
    }

    const int patience_;
    const std::function<void(const std::string&)> say_;
    std::array<Place, kMostThreads> places_;
    std::mutex mutex_;
    std::condition_variable over_;
    bool is_over_ = false;
    std::thread thread_;
};

}  // namespace stress
