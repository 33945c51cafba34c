// The thread that serves a server's connections, as code that it runs in functions sees it.
#pragma once

#include "call/function_table.hpp"
#include "call/server_frame.hpp"

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

namespace vmrpc::call {

/// Outlives the server where a connection is held: then no thread is it.
class ServingThread {
  public:
    explicit ServingThread(const FunctionTable& functions) : functions_(functions) {}

    /// This thread serves from now on; nobody does.
    void begin() { thread_.store(this_thread(), std::memory_order_relaxed); }
    void end() { thread_.store(0, std::memory_order_relaxed); }
    // relaxed: a thread finds its own number only where it has written it itself
    [[nodiscard]] bool is_here() const { return thread_.load(std::memory_order_relaxed) == this_thread(); }

    // The serving thread's:

    [[nodiscard]] const FunctionTable& functions() const { return functions_; }
    /// A frame for functions that run while others wait for a client; until it is given back.
    std::unique_ptr<ServerFrame> take_frame() {
        if (spare_frames_.empty()) return std::make_unique_for_overwrite<ServerFrame>();
        std::unique_ptr<ServerFrame> frame = std::move(spare_frames_.back());
        spare_frames_.pop_back();
        return frame;
    }
    void give_back(std::unique_ptr<ServerFrame> frame) { spare_frames_.push_back(std::move(frame)); }

  private:
    /// Not 0, and different in each thread that lives.
    static std::uintptr_t this_thread() {
        static thread_local char here;
        return reinterpret_cast<std::uintptr_t>(&here);
    }

    const FunctionTable& functions_;
    std::atomic<std::uintptr_t> thread_{0};
    std::vector<std::unique_ptr<ServerFrame>> spare_frames_;
};

}  // namespace vmrpc::call
