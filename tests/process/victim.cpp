// A program to be killed: vmrpc-victim ADDRESS [worker]. Connects, sets heaps up, allocates, says "calling", and calls
// a function that takes a while, or one that runs on a worker for as long as it lives.
#include "conformance/heap_functions.hpp"

#include <sys/prctl.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <thread>

int main(int argument_count, char** arguments) {
    if (argument_count != 2 && argument_count != 3) return 2;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    auto client = vmrpc::Client::connect(arguments[1]);
    if (!client) {
        std::fprintf(stderr, "victim: %s\n", client.error().message().c_str());
        return 1;
    }
    auto block = client->heap().make_array<char>(1 << 20);
    auto numbers = client->call<conformance::iota>(1'000);
    const auto heap = client->heap().set_up(1 << 20);
    const auto servers = client->call<conformance::set_up_servers_heap>(std::uint64_t{1} << 20);
    if (!block || !numbers || !heap || !servers || *servers <= 0) return 1;
    auto elsewhere = heap->make_array<char>(1'000);
    block->data()[0] = 'x';
    if (argument_count == 3) {
        const auto word = client->heap().make_array<std::uint32_t>(1).value();
        std::thread caller([&] { static_cast<void>(client->call<conformance::wait_on_worker>(word.ptr())); });
        while (std::atomic_ref(word[0]).load(std::memory_order_acquire) != 2)
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        std::puts("calling");
        std::fflush(stdout);
        caller.join();
        return 3;
    }
    std::puts("calling");
    std::fflush(stdout);
    const auto result = client->call<conformance::sleep_ms>(40);
    std::printf("%s\n", result ? "returned" : result.error().message().c_str());
    return result ? 0 : 3;
}
