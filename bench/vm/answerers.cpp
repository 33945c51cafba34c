#include "vm/answerers.hpp"

#include "dax_info_block.hpp"
#include "support/pair.hpp"
#include "vm/calls.hpp"
#include "vm/floor.hpp"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <tuple>

namespace vmrpc::bench {
namespace {

constexpr std::uint8_t kFloorNumber = 3;  // names the memory to the guest's kernel

/// The memory whole, with the block that makes a guest's kernel show what is behind it, where there is room for one.
std::byte* map_floor(int memory, std::size_t offset) {
    if (memory >= 0 && ::ftruncate(memory, kFloorBytes) == 0) {
        void* mapped = ::mmap(nullptr, kFloorBytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
        if (mapped != MAP_FAILED) {
            auto* base = static_cast<std::byte*>(mapped);
            if (offset != 0) vm::write_dax_info(base, kFloorBytes, kFloorNumber);
            return base;
        }
    }
    throw std::system_error(errno, std::generic_category(), "cannot make shared memory");
}

}  // namespace

Answerers::Answerers(int cpu, const Services& services, const std::string& host, std::size_t floor_offset,
                     std::int64_t until_ns)
    : memory_(::memfd_create("vmrpc-bench", MFD_CLOEXEC)),
      memory_base_(map_floor(memory_.get(), floor_offset)),
      floor_(memory_base_ + floor_offset),
      tcp_(host) {
    start_service(cpu, Answerer::kSpins, services.of(Kind::kSpins), VMRPC_SPIN_ALWAYS, until_ns);
    start_service(cpu, Answerer::kSleeps, services.of(Kind::kSleeps), VMRPC_SPIN_NEVER, until_ns);
    start_floor(cpu, Answerer::kFloorPause, Pause::kYes, until_ns);
    start_floor(cpu, Answerer::kFloorNoPause, Pause::kNo, until_ns);
    start(cpu, Answerer::kTcp, until_ns, [this](const Report& report) {
        report.send('y');
        tcp_.serve();
    });
}

void Answerers::start(int cpu, Answerer answerer, std::int64_t until_ns,
                      const std::function<void(const Report&)>& body) {
    auto& child = children_[static_cast<std::size_t>(answerer)];
    child = std::make_unique<Child>(cpu, body);
    std::ignore = child->receive<char>(until_ns);
}

void Answerers::start_floor(int cpu, Answerer answerer, Pause pause, std::int64_t until_ns) {
    start(cpu, answerer, until_ns, [&](const Report& report) {
        report.send('y');
        floor_echo(floor_, pause);
    });
}

void Answerers::start_service(int cpu, Answerer answerer, const Service& service, std::int64_t spin,
                              std::int64_t until_ns) {
    start(cpu, answerer, until_ns, [&](const Report& report) {
        serve_calls(service.address, spin, service.heap_bytes, [&report] { report.send('y'); });
    });
    stop_all();  // it may spin
}

Answerers::~Answerers() {
    ::munmap(memory_base_, kFloorBytes);
}

void Answerers::stop_all() const {
    for (const auto& child : children_)
        if (child != nullptr) ::kill(child->pid(), SIGSTOP);
}

void Answerers::resume(Answerer answerer) const {
    ::kill(children_[static_cast<std::size_t>(answerer)]->pid(), SIGCONT);
}

void Answerers::let_run(Answerer answerer) const {
    stop_all();
    resume(answerer);
}

void Answerers::let_services_run() const {
    stop_all();
    resume(Answerer::kSpins);
    resume(Answerer::kSleeps);
}

}  // namespace vmrpc::bench
