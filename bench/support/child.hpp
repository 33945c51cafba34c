// One side of a measurement: a process of its own, on a CPU of its own, that reports through a pipe.
//
// The program that measures never uses the library itself. It forks both sides, so that each is a process as a user's
// would be, and each round starts afresh.
#pragma once

#include "base/fd.hpp"

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <type_traits>

namespace vmrpc::bench {

/// The child's end of the pipe to its parent.
class Report {
  public:
    explicit Report(base::Fd pipe) : pipe_(std::move(pipe)) {}
    /// Sends a message, whole. Throws std::system_error.
    template <class Message>
    void send(const Message& message) const {
        static_assert(std::is_trivially_copyable_v<Message> && sizeof message <= 512, "one write to a pipe, whole");
        send_bytes(&message, sizeof message);
    }

  private:
    void send_bytes(const void* message, std::size_t bytes) const;

    base::Fd pipe_;
};

/// A child process. It dies with its parent, and with this object.
class Child {
  public:
    /// Forks. The child runs `body` on `cpu` and ends; what body throws goes to stderr. Throws std::system_error.
    Child(int cpu, const std::function<void(const Report&)>& body);
    Child(const Child&) = delete;
    Child& operator=(const Child&) = delete;
    ~Child();

    [[nodiscard]] pid_t pid() const { return pid_; }

    /// The child's next message. Throws Stopped as wait_readable(), std::runtime_error if the child has ended.
    template <class Message>
    Message receive(std::int64_t until_ns) const {
        Message message{};
        receive_bytes(&message, sizeof message, until_ns);
        return message;
    }

  private:
    void receive_bytes(void* message, std::size_t bytes, std::int64_t until_ns) const;

    base::Fd pipe_;
    pid_t pid_ = -1;
};

/// CPU time that a process has used so far, all of its threads, in nanoseconds.
std::int64_t cpu_time_ns(pid_t process);

}  // namespace vmrpc::bench
