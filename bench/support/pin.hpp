// Which CPUs a benchmark runs on: each side on one of its own.
#pragma once

namespace vmrpc::bench {

/// The CPUs of the two sides. Equal where the program may use one only.
struct CpuPair {
    int caller = 0;
    int server = 0;
    [[nodiscard]] bool is_one() const { return caller == server; }
};

/// Two CPUs that this process may run on, of different cores where there are such.
CpuPair choose_cpus();

/// How many CPUs choose_cpus() can choose from.
int allowed_cpu_count();

/// Keeps the calling thread, and threads that it starts later, on one CPU. Throws std::system_error.
void pin_to(int cpu);
/// Lets it, and threads that it starts later, run wherever choose_cpus() could choose from. Throws std::system_error.
void unpin();

}  // namespace vmrpc::bench
