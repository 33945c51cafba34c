#include "heap/mapped.hpp"

#include "base/fd.hpp"
#include "heap/allocators.hpp"
#include "heap/huge_pages.hpp"
#include "support/measure.hpp"

#include <fmt/format.h>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <system_error>
#include <tuple>

namespace vmrpc::bench {
namespace {

constexpr std::size_t kStepBytes = 4096;
constexpr std::size_t kHalfBytes = kMappedBytes / 2;

[[noreturn]] void fail(const char* what) {
    throw std::system_error(errno, std::generic_category(), what);
}

void write_each_page(std::span<char> bytes) {
    for (std::size_t i = 0; i < bytes.size(); i += kStepBytes) bytes[i] = 'v';
}

void read_each_page(std::span<const char> bytes) {
    for (std::size_t i = 0; i < bytes.size(); i += kStepBytes) {
        if (bytes[i] != 'v') throw std::runtime_error("memory does not hold what the other process wrote");
    }
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

}  // namespace

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
