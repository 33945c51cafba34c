// What depends on the processor: the pause of a spin loop, cache lines, which CPUs a thread may use.
#pragma once

#include <sched.h>

#include <cstddef>

namespace vmrpc::base {

/// Size of a cache line, and of everything in a region that has one writer.
inline constexpr std::size_t kLineBytes = 64;

/// Tells the processor that this is a spin loop: the other hyper-thread gets the core, and leaving the loop is not
/// mispredicted.
inline void cpu_pause() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

/// Has a line brought into this CPU's cache, without waiting for it: to be read, or with the right to write it.
inline void prefetch(const void* line) {
    __builtin_prefetch(line);
}
inline void prefetch_to_write(const void* line) {
#if defined(__x86_64__)
    // Unless told of a processor that surely has it, the compiler would fetch the line to read it, which is the
    // opposite. Where it is not known it does nothing.
    asm volatile("prefetchw %0" : : "m"(*static_cast<const char*>(line)));
#else
    __builtin_prefetch(line, 1);
#endif
}

/// The one CPU that the calling thread may run on, or -1 if it may use several (or it cannot be known).
inline int only_cpu() {
    cpu_set_t set;
    if (::sched_getaffinity(0, sizeof set, &set) != 0 || CPU_COUNT(&set) != 1) return -1;
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
        if (CPU_ISSET(cpu, &set)) return cpu;
    }
    return -1;
}

}  // namespace vmrpc::base
