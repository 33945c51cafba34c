// The test's server, in this process or in one of its own.
#pragma once

#include "ivshmem_functions.hpp"

#include <sys/stat.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <numeric>
#include <string>
#include <system_error>
#include <thread>

namespace ivshmem_test {

/// What the system has set aside for the segments of this process.
inline std::uint64_t bytes_of_segments() {
    std::map<ino_t, std::uint64_t> found;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
        std::error_code gone;
        struct stat status {};
        const auto target = std::filesystem::read_symlink(entry.path(), gone).string();
        const bool is_memory = target.find("memfd:vmrpc") != std::string::npos || target.ends_with(".mem");
        if (is_memory && ::stat(entry.path().c_str(), &status) == 0)
            found[status.st_ino] = static_cast<std::uint64_t>(status.st_blocks) * 512;
    }
    std::uint64_t bytes = 0;
    for (const auto& [inode, one] : found) bytes += one;
    return bytes;
}

class Host {
  public:
    explicit Host(const std::string& address, std::uint64_t heap_bytes = 0,
                  vmrpc_huge_pages huge_pages = VMRPC_HUGE_PAGES_NONE)
        : server_(address, {.heap_bytes = heap_bytes,
                            .trust_peer = true,
                            .on_open = [this](const vmrpc::Caller&) { ++opened; },
                            .on_close = [this](const vmrpc::Caller&) { ++closed; },
                            .huge_pages = huge_pages}) {
        server_.add<ivshmem_test::add>([](std::int64_t a, std::int64_t b) { return a + b; });
        server_.add<mean>([](std::span<const double> values) {
            return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
        });
        server_.add<negate>([](std::span<double> values) {
            for (double& value : values) value = -value;
        });
        server_.add<address_of>(
            [](std::span<const double> values) { return reinterpret_cast<std::uint64_t>(values.data()); });
        server_.add<sum_list>([](vmrpc::Ptr<Node> first) {
            std::int64_t sum = 0;
            for (const Node* node = first.get(); node != nullptr; node = node->next) sum += node->value;
            return sum;
        });
        server_.add<ivshmem_test::sleep_ms>(
            [](std::uint32_t milliseconds) { std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds)); });
        server_.add<memory_bytes>(bytes_of_segments);
        server_.add<own_vm>([] { return vmrpc::caller().vm(); });
        server_.add<closed_count>([this] { return closed.load(); });
    }

    vmrpc::Server& server() { return server_; }
    std::atomic<std::uint32_t> opened{0};
    std::atomic<std::uint32_t> closed{0};

  private:
    vmrpc::Server server_;
};

/// Serves on a thread, until destroyed.
class HostThread : public Host {
  public:
    explicit HostThread(const std::string& address, std::uint64_t heap_bytes = 0,
                        vmrpc_huge_pages huge_pages = VMRPC_HUGE_PAGES_NONE)
        : Host(address, heap_bytes, huge_pages), thread_([this] { result = server().run(); }) {}
    ~HostThread() {
        server().stop();
        thread_.join();
    }
    vmrpc::Result<void> result;

  private:
    std::thread thread_;
};

}  // namespace ivshmem_test
