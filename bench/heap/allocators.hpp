// What is compared: the RPC heap, mimalloc, and Boost.Interprocess, each called as its users call it.
#pragma once

#include "support/pair.hpp"
#include "support/scratch_folder.hpp"

#include <vmrpc/buffer.hpp>
#include <vmrpc/vmrpc.hpp>

#include <boost/interprocess/managed_shared_memory.hpp>

#include <mimalloc.h>
#include <sys/types.h>

#include <cstddef>
#include <functional>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>

namespace vmrpc::bench {

/// Allocates a block or throws std::bad_alloc, and frees one. Copies mean the same heap. Threads: any.
class RpcHeap {
  public:
    explicit RpcHeap(vmrpc_connection* connection) : connection_(connection) {}
    [[nodiscard]] void* allocate(std::size_t bytes) const {
        void* block = vmrpc_malloc(connection_, bytes, nullptr);
        if (block == nullptr) throw std::bad_alloc();
        return block;
    }
    void free(void* block) const {
        if (vmrpc_free(connection_, block) != VMRPC_OK) throw std::runtime_error(VMRPC_LAST_ERROR_TEXT());
    }

  private:
    vmrpc_connection* connection_;
};

/// Set up for speed: it keeps what it has.
class Mimalloc {
  public:
    Mimalloc();
    [[nodiscard]] static void* allocate(std::size_t bytes) {
        void* block = mi_malloc(bytes);
        if (block == nullptr) throw std::bad_alloc();
        return block;
    }
    static void free(void* block) { mi_free(block); }
};

/// With the algorithm and the mutex that its users get.
class BoostHeap {
  public:
    using Memory = boost::interprocess::managed_shared_memory;
    explicit BoostHeap(Memory& memory) : memory_(&memory) {}
    [[nodiscard]] void* allocate(std::size_t bytes) const { return memory_->allocate(bytes); }
    void free(void* block) const { memory_->deallocate(block); }

  private:
    Memory* memory_;
};

/// Shared memory that nothing leaves behind: its name is gone before anybody uses it. Children that are forked while it
/// is there share it.
std::shared_ptr<BoostHeap::Memory> make_boost_memory();

enum class Kind { kRpcHeap, kMimalloc, kBoost };

/// Where the compiler must expect that somebody looks at a block: it drops no pair of calls whose block is not used.
inline void show(const void* block) {
    asm volatile("" : : "r"(block) : "memory");  // NOLINT(hicpp-no-assembler): there is no other way to say it
}

/// The other side of a caller that needs none: it waits to be ended.
[[noreturn]] void idle(const Report& report);

/// The server of this benchmark's functions, on `address`, with adaptive spin, trusting its clients.
void serve_heap(const std::string& address, const Report& report);
/// A client of it.
Client join_heap(const std::string& address);

/// Sides of which the caller does `work(effort, server, heap)` with a heap of that kind. `folder` must outlive them.
template <class Work>
Sides sides_with(ScratchFolder& folder, Kind kind, Work work) {
    if (kind == Kind::kMimalloc)
        return {.serve = idle,
                .call = [=](const Effort& effort, pid_t other) { return work(effort, other, Mimalloc()); }};
    if (kind == Kind::kBoost)
        return {.serve = idle, .call = [=, memory = make_boost_memory()](const Effort& effort, pid_t other) {
                    return work(effort, other, BoostHeap(*memory));
                }};
    const std::string address = "local:" + folder.fresh().string();
    return {.serve = [=](const Report& report) { serve_heap(address, report); },
            .call =
                [=](const Effort& effort, pid_t server) {
                    const Client client = join_heap(address);
                    return work(effort, server, RpcHeap(client.handle()));
                }};
}

}  // namespace vmrpc::bench
