// What a guest's process uses of its VM's devices: the memory, mapped, and the doorbell, if there is one.
#pragma once

#include "base/clock.hpp"
#include "base/result.hpp"
#include "notify/fork_guard.hpp"
#include "transport/transport.hpp"
#include "transport/vm/address.hpp"
#include "transport/vm/doorbell.hpp"
#include "transport/vm/protocol.hpp"
#include "transport/vm/sentinel.hpp"
#include "transport/vm/window.hpp"

#include <cstdint>
#include <memory>
#include <string>

namespace vmrpc::transport::vm {

struct Board {
    Board() = default;
    Board(const Board&) = delete;
    Board& operator=(const Board&) = delete;
    ~Board();

    std::string name;  // "vm:dax0.0", for messages
    notify::GuardedFd memory;
    std::uint64_t memory_offset = 0;
    std::uint64_t memory_bytes = 0;
    bool is_file = false;     // on the host: its pages are to be committed here
    notify::GuardedFd locks;  // what processes lock, where the memory's own file is one and the same for all of them
    std::unique_ptr<Doorbell> doorbell;  // none: the server looks
    bool wants_interrupts = false;       // if the doorbell has them
    /// Of pages of this process's own: keeps them when the process has let go of them, and tells of its death.
    Sentinel keeper;
    bool is_kept = false;  // there is one: claims need none
    std::shared_ptr<Window> window;
    std::uint64_t segment_bytes = 0;
    std::uint32_t entries = 0;
    std::uint64_t server_address = 0;  // of the segment's base

    /// Opens the memory that the address means, or lends pages that suffice for the wishes, maps its header area and
    /// opens the doorbell that goes with it. What was chosen is in the log. Blocks until `deadline` at the longest. At
    /// the server's address, if that is wished and free. Errors: those of open_dax(), open_device() and lend_ram();
    /// VMRPC_NOT_VMRPC, VMRPC_LAYOUT_VERSION, VMRPC_POISONED (what lies in the memory); VMRPC_OUT_OF_RESOURCES.
    static base::Result<std::unique_ptr<Board>> open(const Address& address, const Wishes& wishes,
                                                     base::Deadline deadline);

    [[nodiscard]] base::FilePlace place() const { return {memory.get(), memory_offset}; }
    /// The file whose bytes are locked.
    [[nodiscard]] int lock_file() const { return locks.valid() ? locks.get() : memory.get(); }
    [[nodiscard]] layout::DirectoryEntry& entry(std::uint32_t index) const {
        return directory_entry(window->base(), index);
    }
    /// Makes the server look at the directory, if there is a doorbell. Any thread.
    void ring_directory() const noexcept {
        if (doorbell != nullptr) doorbell->ring(kDirectoryVector);
    }
    /// The same error, with the name before its text.
    [[nodiscard]] tl::unexpected<base::Error> failed(const base::Error& error) const;
};

}  // namespace vmrpc::transport::vm
