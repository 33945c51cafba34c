#include "heap/mapped.hpp"

#include "base/clock.hpp"
#include "base/fd.hpp"
#include "heap/allocators.hpp"
#include "heap/functions.hpp"
#include "heap/huge_pages.hpp"
#include "support/measure.hpp"
#include "support/must.hpp"

#include <fmt/format.h>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <tuple>

namespace vmrpc::bench {
namespace {

constexpr std::size_t kStepBytes = 4096;
constexpr std::int64_t kUnmappingNs = 5'000'000'000;

[[noreturn]] void fail(const char* what) {
    throw std::system_error(errno, std::generic_category(), what);
}

class Mapping {
  public:
    explicit Mapping(int memory) : base_(::mmap(nullptr, kMappedBytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0)) {
        if (base_ == MAP_FAILED) fail("cannot map huge pages");
    }
    Mapping(const Mapping&) = delete;
    Mapping& operator=(const Mapping&) = delete;
    ~Mapping() { ::munmap(base_, kMappedBytes); }
    [[nodiscard]] std::span<char> half(std::size_t index) const {
        return {static_cast<char*>(base_) + index * kHalfBytes, kHalfBytes};
    }

  private:
    void* base_;
};

/// A socket whose two ends both processes inherit.
struct Line {
    std::array<base::Fd, 2> ends;
    Line() {
        std::array<int, 2> made{};
        if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, made.data()) != 0) fail("cannot make a socket pair");
        for (std::size_t i = 0; i < 2; ++i) ends[i].reset(made[i]);
    }
    void send(std::size_t end, int number) const {
        if (::write(ends[end].get(), &number, sizeof number) != sizeof number) fail("cannot tell the other process");
    }
    [[nodiscard]] int receive(std::size_t end) const {
        int number = 0;
        if (::read(ends[end].get(), &number, sizeof number) != sizeof number) fail("cannot hear the other process");
        return number;
    }
};

void answer(const Line& line, const Report& report) {
    std::optional<Mapping> mapping;  // until the next one is to be mapped
    say_ready(report);
    for (;;) {
        const int caller = line.receive(1);
        mapping.reset();
        line.send(1, 0);
        const int descriptor = line.receive(1);
        const base::Fd memory(::open(fmt::format("/proc/{}/fd/{}", caller, descriptor).c_str(), O_RDWR | O_CLOEXEC));
        mapping.emplace(memory.get());
        read_each_page(mapping->half(0));
        write_each_page(mapping->half(1));
        line.send(1, 0);
    }
}

void map_and_touch(const Line& line, std::optional<Mapping>& mapping) {
    const base::Fd memory(::memfd_create("vmrpc-bench", MFD_CLOEXEC | MFD_HUGETLB));
    if (!memory.valid() || ::ftruncate(memory.get(), kMappedBytes) != 0) fail("cannot make a memfd of huge pages");
    mapping.emplace(memory.get());
    write_each_page(mapping->half(0));
    line.send(0, memory.get());
    std::ignore = line.receive(0);
    read_each_page(mapping->half(1));
}

/// The server unmaps a connection's memory after the client has, in its own time, which is not to fall into the next
/// connection's.
void wait_until_free(std::uint64_t huge_page_bytes) {
    const std::int64_t until_ns = base::now_ns() + kUnmappingNs;
    while (free_huge_page_bytes() < huge_page_bytes) {
        if (base::now_ns() > until_ns) throw std::runtime_error("a connection that is closed keeps its huge pages");
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
}

void connect_and_touch(const std::string& address, std::optional<Client>& client) {
    client = must(Client::connect(
        address, {.heap_bytes = kMappedBytes, .trust_peer = true, .huge_pages = VMRPC_HUGE_PAGES_HUGETLB}));
    const Array<char> ours = must(client->heap().make_array<char>(kHalfBytes));
    write_each_page(ours.span());
    const Array<char> theirs = must(client->call<touch_halves>(ours));
    if (theirs.size() != kHalfBytes) throw std::runtime_error("the server did not touch its half of the heap");
    read_each_page(theirs.span());
}

}  // namespace

void write_each_page(std::span<char> bytes) {
    for (std::size_t i = 0; i < bytes.size(); i += kStepBytes) bytes[i] = 'v';
}

void read_each_page(std::span<const char> bytes) {
    for (std::size_t i = 0; i < bytes.size(); i += kStepBytes) {
        if (bytes[i] != 'v') throw std::runtime_error("memory does not hold what the other process wrote");
    }
}

Sides mapped_heap_sides(ScratchFolder& folder) {
    const std::string address = "local:" + folder.fresh().string();
    return {.serve = [=](const Report& report) { serve_heap(address, report); },
            .call =
                [=](const Effort& effort, pid_t) {
                    const std::uint64_t free_before = free_huge_page_bytes();
                    std::optional<Client> client;
                    const auto close = [&](int) {
                        client.reset();
                        wait_until_free(free_before);
                    };
                    return measure_apart(effort, close, [&](int) { connect_and_touch(address, client); });
                }};
}

Sides bare_mapping_sides() {
    auto line = std::make_shared<Line>();
    return {.serve = [line](const Report& report) { answer(*line, report); },
            .call =
                [line](const Effort& effort, pid_t) {
                    std::optional<Mapping> mapping;
                    const auto unmap = [&](int) {
                        mapping.reset();
                        line->send(0, ::getpid());
                        std::ignore = line->receive(0);
                    };
                    return measure_apart(effort, unmap, [&](int) { map_and_touch(*line, mapping); });
                }};
}

}  // namespace vmrpc::bench
