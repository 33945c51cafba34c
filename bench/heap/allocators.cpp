#include "heap/allocators.hpp"

#include <fmt/format.h>

#include <unistd.h>

#include <cstdlib>
#include <stdexcept>

namespace vmrpc::bench {
namespace {

constexpr std::size_t kBoostBytes = 256 << 20;  // more than is ever allocated at once

}  // namespace

Mimalloc::Mimalloc() {
    const std::unique_ptr<void, decltype(&std::free)> ordinary(std::calloc(1, 1), std::free);
    if (mi_is_in_heap_region(ordinary.get()))
        throw std::runtime_error("mimalloc has replaced malloc in this program: others would be measured with it");
    mi_option_disable(mi_option_allow_decommit);
}

std::shared_ptr<BoostHeap::Memory> make_boost_memory() {
    namespace ipc = boost::interprocess;
    static int made = 0;
    const std::string name = fmt::format("vmrpc-bench-{}-{}", ::getpid(), ++made);
    struct Remove {
        const std::string& name;
        ~Remove() { ipc::shared_memory_object::remove(name.c_str()); }
    } remove{name};
    return std::make_shared<BoostHeap::Memory>(ipc::create_only, name.c_str(), kBoostBytes);
}

void idle(const Report& report) {
    say_ready(report);
    for (;;) ::pause();
}

}  // namespace vmrpc::bench
