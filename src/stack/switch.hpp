// Running code on another stack of the same thread, and going back for a while. Boost.Context does the switching.
#pragma once

#include <cstddef>
#include <cstdint>

namespace vmrpc::stack {

/// Memory that code runs on, down from `end`. Nobody may touch what lies between `guard` and `begin`.
struct Bounds {
    std::byte* guard = nullptr;
    std::byte* begin = nullptr;
    std::byte* end = nullptr;
    [[nodiscard]] std::size_t bytes() const { return static_cast<std::size_t>(end - begin); }
};

/// What to run on a stack.
struct Task {
    void (*run)(void* argument) noexcept;
    void* argument;
    /// An address in the program or library whose code this is. See Ending::kOverflowed.
    const void* code;
    /// Whose stack it is; for is_on().
    const void* owner;
};

enum class Ending {
    kReturned,
    /// The code touched the guard. Its frames were abandoned: nothing was destroyed, what they had locked is locked.
    /// Only for faults in `Task::code`'s own program or library: in another one (the C library, say) the process may
    /// not go on, for a lock of everybody's may be held there. It then says so on standard error, and ends with the
    /// signal.
    kOverflowed,
};

/// Runs a task on a stack, from `top` (at most its end) down, and returns when it is over. Inside, the thread must not
/// end, fork, or leave by longjmp. Requires prepare_thread() before, and a guard that is in place.
Ending run_on(const Bounds& stack, std::byte* top, const Task& task);

/// Whether the calling code runs on `owner`'s stack.
[[nodiscard]] bool is_on(const void* owner);
/// Whether it does so, or has left that stack for another one for a while.
[[nodiscard]] bool is_in_use(const void* owner);
/// Where run_on() may start again on `owner`'s stack, which is_in_use() and not is_on(): below what is left there.
[[nodiscard]] std::byte* free_top(const void* owner);
/// Bytes left on the stack that the calling code runs on; SIZE_MAX if run_on() has not brought it there.
[[nodiscard]] std::size_t bytes_left();

/// Work for the stack that run_on() was called on. `suspended` is the lowest byte in use of the stack that was left.
struct HostWork {
    std::uintptr_t (*run)(void* argument, std::byte* suspended) noexcept;
    void* argument;
};
/// Leaves the stack that the caller runs on, does the work where run_on() was called, and comes back with its result.
/// Nothing runs on the stack meanwhile, unless the work lets it. Requires that run_on() has brought the caller here.
std::uintptr_t on_host(HostWork work);

}  // namespace vmrpc::stack
