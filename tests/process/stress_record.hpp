// What the stress test's server notes of the calls that it executes, in its private memory.
#pragma once

#include "process/stress_calls.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <mutex>
#include <stdexcept>
#include <utility>
#include <vector>

namespace stress {

/// How often a call has run, and of which function.
struct Executed {
    Function function = Function::kAdd;
    std::uint8_t begun = 0;
    std::uint8_t succeeded = 0;
};

class Record {
  public:
    void begin(Ticket ticket, Function function) {
        change(ticket, [&](Executed& run) {
            run.function = function;
            ++run.begun;
        });
    }
    void succeed(Ticket ticket) {
        change(ticket, [](Executed& run) { ++run.succeeded; });
    }
    /// Of one thread of a client, by number; those at the end that have not run may be missing.
    [[nodiscard]] std::vector<Executed> of(std::uint32_t client, std::uint32_t thread) {
        Part& part = parts_.at(client * kThreads + thread);
        const std::scoped_lock lock(part.mutex);
        return part.runs;
    }

    /// Makes a function of the server's one that is noted.
    template <Function kFunction, class Callable>
    auto noting(Callable callable) {
        return [this, callable](Ticket ticket, auto... arguments) {
            begin(ticket, kFunction);
            if constexpr (std::is_void_v<decltype(callable(arguments...))>) {
                callable(arguments...);
                succeed(ticket);
            } else {
                auto result = callable(arguments...);
                succeed(ticket);
                return result;
            }
        };
    }

  private:
    struct Part {
        std::mutex mutex;
        std::vector<Executed> runs;
    };
    template <class Change>
    void change(Ticket ticket, Change change) {
        if (ticket.client() >= kClients || ticket.thread() >= kThreads)
            throw std::runtime_error("a ticket that nobody has made");
        Part& part = parts_.at(ticket.client() * kThreads + ticket.thread());
        const std::scoped_lock lock(part.mutex);
        if (part.runs.size() <= ticket.number()) part.runs.resize(ticket.number() + 1);
        change(part.runs[ticket.number()]);
    }
    std::array<Part, kClients * kThreads> parts_;
};

}  // namespace stress
