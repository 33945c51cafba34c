// What the sanitizers must be told when a thread changes its stack. Without them all of this is nothing.
#pragma once

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#define VMRPC_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define VMRPC_ASAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define VMRPC_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define VMRPC_TSAN 1
#endif
#endif

#ifdef VMRPC_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef VMRPC_TSAN
#include <sanitizer/tsan_interface.h>
#endif

/// Of a function that changes the stack: ThreadSanitizer must not count it as entered on one stack and left on another.
#if defined(VMRPC_TSAN) && defined(__clang__)
#define VMRPC_SWITCHES_STACKS __attribute__((disable_sanitizer_instrumentation))
#else
#define VMRPC_SWITCHES_STACKS
#endif

namespace vmrpc::stack {

/// One change to another stack and back, as AddressSanitizer and ThreadSanitizer follow it. Each to_…() comes right
/// before a jump, each at_…() right behind it.
class Fiber {
  public:
    Fiber([[maybe_unused]] const void* begin, [[maybe_unused]] std::size_t bytes) {
#ifdef VMRPC_ASAN
        begin_ = begin;
        bytes_ = bytes;
#endif
#ifdef VMRPC_TSAN
        host_fiber_ = __tsan_get_current_fiber();
        fiber_ = __tsan_create_fiber(0);
#endif
    }
    Fiber(const Fiber&) = delete;
    Fiber& operator=(const Fiber&) = delete;
#ifdef VMRPC_TSAN
    ~Fiber() {
        __tsan_destroy_fiber(fiber_);
    }
#endif

    [[gnu::always_inline]] void to_stack() {
#ifdef VMRPC_ASAN
        __sanitizer_start_switch_fiber(&host_fake_, begin_, bytes_);
#endif
#ifdef VMRPC_TSAN
        __tsan_switch_to_fiber(fiber_, 0);
#endif
    }
    [[gnu::always_inline]] void at_stack() {
#ifdef VMRPC_ASAN
        __sanitizer_finish_switch_fiber(fake_, &host_begin_, &host_bytes_);
#endif
    }
    /// `for_good`: the stack's frames are gone.
    [[gnu::always_inline]] void to_host([[maybe_unused]] bool for_good) {
#ifdef VMRPC_ASAN
        fake_ = nullptr;
        __sanitizer_start_switch_fiber(for_good ? nullptr : &fake_, host_begin_, host_bytes_);
#endif
#ifdef VMRPC_TSAN
        __tsan_switch_to_fiber(host_fiber_, 0);
#endif
    }
    [[gnu::always_inline]] void at_host() {
#ifdef VMRPC_ASAN
        __sanitizer_finish_switch_fiber(host_fake_, nullptr, nullptr);
#endif
    }

  private:
#ifdef VMRPC_ASAN
    const void* begin_ = nullptr;
    std::size_t bytes_ = 0;
    void* fake_ = nullptr;
    void* host_fake_ = nullptr;
    const void* host_begin_ = nullptr;
    std::size_t host_bytes_ = 0;
#endif
#ifdef VMRPC_TSAN
    void* host_fiber_ = nullptr;
    void* fiber_ = nullptr;
#endif
};

/// Frames that were abandoned leave their marks in AddressSanitizer's shadow.
inline void forget_frames([[maybe_unused]] const void* begin, [[maybe_unused]] std::size_t bytes) {
#ifdef VMRPC_ASAN
    __asan_unpoison_memory_region(begin, bytes);
#endif
}

/// Whether AddressSanitizer keeps locals off the stack (detect_stack_use_after_return).
inline bool locals_are_elsewhere() {
#ifdef VMRPC_ASAN
    return __asan_get_current_fake_stack() != nullptr;
#else
    return false;
#endif
}

}  // namespace vmrpc::stack
