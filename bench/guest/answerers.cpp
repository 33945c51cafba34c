#include "guest/answerers.hpp"

#include "guest/calls.hpp"
#include "guest/floor.hpp"
#include "support/pair.hpp"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <tuple>

namespace vmrpc::bench {
namespace {

std::byte* map_floor(int memory) {
    if (memory >= 0 && ::ftruncate(memory, kFloorBytes) == 0) {
        void* base = ::mmap(nullptr, kFloorBytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
        if (base != MAP_FAILED) return static_cast<std::byte*>(base);
    }
    throw std::system_error(errno, std::generic_category(), "cannot make shared memory");
}

}  // namespace

Answerers::Answerers(int cpu, const std::string& address, std::int64_t until_ns)
    : memory_(::memfd_create("vmrpc-bench", MFD_CLOEXEC)), floor_(map_floor(memory_.get())) {
    const auto start = [&](Answerer answerer, const std::function<void(const Report&)>& body) {
        auto& child = children_[static_cast<std::size_t>(answerer)];
        child = std::make_unique<Child>(cpu, body);
        std::ignore = child->receive<char>(until_ns);
    };
    start(Answerer::kServer, [&](const Report& report) { serve_calls(address, [&report] { report.send('y'); }); });
    for (const Pause pause : {Pause::kYes, Pause::kNo}) {
        start(pause == Pause::kYes ? Answerer::kFloorPause : Answerer::kFloorNoPause, [&](const Report& report) {
            report.send('y');
            floor_echo(floor_, pause);
        });
    }
    start(Answerer::kTcp, [&](const Report& report) {
        report.send('y');
        tcp_.serve();
    });
}

Answerers::~Answerers() {
    ::munmap(floor_, kFloorBytes);
}

void Answerers::let_run(Answerer answerer) const {
    for (const auto& child : children_) ::kill(child->pid(), SIGSTOP);
    ::kill(children_[static_cast<std::size_t>(answerer)]->pid(), SIGCONT);
}

}  // namespace vmrpc::bench
