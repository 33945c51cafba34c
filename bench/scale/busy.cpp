#include "scale/busy.hpp"

#include "scale/server.hpp"
#include "support/measure.hpp"

#include <atomic>
#include <string>
#include <thread>

namespace vmrpc::bench {
namespace {

/// Threads that call on connections of theirs until they are told to stop.
class Callers {
  public:
    Callers(const std::vector<Client>& clients, int threads_each) {
        for (const Client& client : clients) {
            for (int i = 0; i < threads_each; ++i) {
                threads_.emplace_back([this, &client] {
                    while (!stopping_.load(std::memory_order_relaxed)) {
                        must(client.call<nothing>());
                        calls_.fetch_add(1, std::memory_order_relaxed);
                    }
                });
            }
        }
    }
    Callers(const Callers&) = delete;
    Callers& operator=(const Callers&) = delete;
    ~Callers() {
        stopping_.store(true, std::memory_order_relaxed);
        for (std::thread& thread : threads_) thread.join();
    }
    [[nodiscard]] std::uint64_t calls() const { return calls_.load(std::memory_order_relaxed); }

  private:
    std::atomic<bool> stopping_{false};  // orders nothing: join() does
    std::atomic<std::uint64_t> calls_{0};
    std::vector<std::thread> threads_;
};

Figures count_calls(const std::string& address, int count, const Effort& effort, pid_t server) {
    const std::vector<Client> clients = connect_all(address, count);
    const Callers callers(clients, 1);
    std::this_thread::sleep_for(effort.idle);  // all of them have begun
    std::vector<double> samples;
    std::uint64_t all = 0;
    const std::int64_t burned_ns = cpu_time_ns(::getpid()) + cpu_time_ns(server);
    for (int i = 0; i < effort.singles; ++i) {
        const std::int64_t start_ns = base::now_ns();
        const std::uint64_t before = callers.calls();
        std::this_thread::sleep_for(effort.idle);
        const std::uint64_t made = callers.calls() - before;
        all += made;
        samples.push_back(static_cast<double>(base::now_ns() - start_ns) / static_cast<double>(made));
    }
    Figures figures;
    figures.p50_ns = median(samples);
    figures.calls = all;
    figures.cpu_ns =
        static_cast<double>(cpu_time_ns(::getpid()) + cpu_time_ns(server) - burned_ns) / static_cast<double>(all);
    return figures;
}

Figures call_beside(const std::string& address, int flooders, const Effort& effort, pid_t server) {
    const std::vector<Client> clients = connect_all(address, 1);
    const std::vector<Client> flooding = connect_all(address, flooders == 0 ? 0 : 1);
    const Callers callers(flooding, flooders);
    Figures figures = measure(effort, server, [&](int calls) {
        for (int i = 0; i < calls; ++i) must(clients.front().call<nothing>());
    });
    figures.cpu_ns = kUnknown;  // that of the flood is in it
    return figures;
}

}  // namespace

Sides busy_sides(ScratchFolder& folder, int count) {
    const std::string address = "local:" + folder.fresh().string();
    return {.serve = [=](const Report& report) { serve_scale(address, report); },
            .call = [=](const Effort& effort, pid_t server) { return count_calls(address, count, effort, server); }};
}

Sides flooded_sides(ScratchFolder& folder, int flooders) {
    const std::string address = "local:" + folder.fresh().string();
    return {.serve = [=](const Report& report) { serve_scale(address, report); },
            .call = [=](const Effort& effort, pid_t server) { return call_beside(address, flooders, effort, server); }};
}

Sides after_idle_sides(ScratchFolder& folder) {
    return flooded_sides(folder, 0);
}

}  // namespace vmrpc::bench
