// What a listener shares with the links that it has opened.
#pragma once

#include "transport/transport.hpp"

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>

namespace vmrpc::transport {

/// Where events go, for as long as the listener lives; shared by it and its links.
struct EventSink {
    /// Held while an event runs, so that the listener's end waits for it. Recursive: an event may end the listener.
    std::recursive_mutex mutex;
    ListenerEvents* events = nullptr;  // under mutex; null once the listener ends
    /// Places that are taken. relaxed: a count, nothing hangs on its order.
    std::atomic<std::uint32_t> places{0};
};

/// One of the connections that a server takes at most; held from the offer to the end of the link.
class Place {
  public:
    explicit Place(std::shared_ptr<EventSink> sink) : sink_(std::move(sink)) {
        sink_->places.fetch_add(1, std::memory_order_relaxed);
    }
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;
    ~Place() { sink_->places.fetch_sub(1, std::memory_order_relaxed); }

  private:
    std::shared_ptr<EventSink> sink_;
};

}  // namespace vmrpc::transport
