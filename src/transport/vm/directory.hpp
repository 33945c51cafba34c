// The server's side of a VM's directory: turns claims into connections, and gives regions back.
//
// An entry's life, as the offer's states tell it:
//
//     kFree ──claim──> kOffered ──the client is gone──> kDraining ──the link is gone too──> kFree, next generation
//       └──a claim that cannot be──> kRefused ──the claimant lets go──> kFree, next generation
//
// A region's pages go back with it, and it is zeroed before it is offered again: a guest can write to all of its
// device. Pages of the pool stay, and are only zeroed.
#pragma once

#include "transport/vm/server_link.hpp"
#include "transport/vm/vm.hpp"

#include <cstdint>
#include <memory>
#include <vector>

namespace vmrpc::transport::vm {

/// What a guest's process has claimed: copied out of shared memory, not checked.
struct ClaimCopy {
    std::uint32_t state = 0;
    std::uint32_t generation = 0;
    std::uint32_t pid = 0;
    std::uint32_t page_bytes = 0;
    std::uint32_t flags = 0;
    std::uint64_t address = 0;
    std::uint64_t heap_bytes = 0;
    std::uint32_t lane_count = 0;
    std::uint32_t ring_vector = 0;
    std::uint64_t service = 0;
};

/// Errors: what is impossible in a claim. `segment_bytes` is that of the segment that it says to have mapped.
base::Status check_claim(const ClaimCopy& claim, std::uint64_t segment_bytes);

/// Housekeeping thread only. Every value that the guest can write is read once, and checked.
class Directory {
  public:
    Directory(std::shared_ptr<Service> service, std::shared_ptr<Vm> vm);

    /// Looks at every entry, and does what is to be done. May report events, which may end the listener.
    void look();
    /// The VM is gone: reports the loss of each link. What its processes have claimed is nobody's any more.
    void lose_all();
    /// Whether a claim says other things than when this was last asked, for who is not rung.
    [[nodiscard]] bool has_changed();
    /// Whether a client that cannot ring has stored to its server's Rung word since this was last asked.
    [[nodiscard]] bool has_rung();
    [[nodiscard]] bool has_any_that_cannot_ring() const;
    /// The server is ending: whoever claims from now on is told so. Any thread.
    void close();

  private:
    enum class Phase { kFree, kOffered, kRefused, kDraining };
    struct Entry {
        std::uint32_t index = 0;
        Phase phase = Phase::kFree;
        std::uint32_t generation = 1;
        bool cannot_ring = false;
        bool is_abandoned = false;  // its claimant ran in a VM that is gone
        std::uint32_t seen_state = 0;
        std::uint32_t seen_generation = 0;
        std::uint32_t seen_rung = 0;
        ServerLink* link = nullptr;  // for events only
        std::shared_ptr<Tenancy> tenancy;
    };

    void step(Entry& entry);
    void answer(Entry& entry, const ClaimCopy& claim);
    base::Result<std::unique_ptr<ServerLink>> make_link(Entry& entry, const ClaimCopy& claim);
    [[nodiscard]] base::Result<layout::RegionPlan> plan_for(const Entry& entry, const ClaimCopy& claim) const;
    void refuse(Entry& entry, const ClaimCopy& claim, const base::Error& why);
    void offer(Entry& entry, const layout::RegionPlan& plan);
    void report_loss(Entry& entry);
    void free_again(Entry& entry);
    [[nodiscard]] ClaimCopy read_claim(const Entry& entry) const;
    [[nodiscard]] layout::DirectoryOffer& offer_of(const Entry& entry) const;
    [[nodiscard]] layout::Extent share_of(const Entry& entry) const;
    void set_state(const Entry& entry, Phase phase) const;

    std::shared_ptr<Service> service_;
    std::shared_ptr<Vm> vm_;
    std::vector<Entry> entries_;
    std::uint32_t refusals_ = 0;
};

}  // namespace vmrpc::transport::vm
