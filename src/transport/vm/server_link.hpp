// The server's end of a connection with a guest's process.
#pragma once

#include "transport/event_sink.hpp"
#include "transport/memfd_pages.hpp"
#include "transport/rung_word.hpp"
#include "transport/vm/vm.hpp"

#include <atomic>
#include <cstdint>
#include <memory>

namespace vmrpc::transport::vm {

/// What a link and its directory entry share: it outlives both.
struct Tenancy {
    /// The link is gone, its region is not used any more. Release by the link, pairs with the directory's acquire.
    std::atomic<bool> over{false};
};

struct ServerLinkParts {
    std::shared_ptr<Vm> vm;
    std::unique_ptr<Place> place;
    std::shared_ptr<Tenancy> tenancy;
    layout::RegionPlan plan{};
    std::uint64_t client_address = 0;          // of the segment's base; as the client says
    notify::GuardedFd bell;                    // a copy of the VM's eventfd for requests
    std::uint32_t entry = 0;                   // of the directory
    std::uint32_t interrupt = layout::kLooks;  // the vector that rings the client; as the client says
};

class VmServerLink final : public ServerLink {
  public:
    explicit VmServerLink(ServerLinkParts parts);
    /// Makes sure that the client sees the end, and lets the directory have the region back.
    ~VmServerLink() override;

    [[nodiscard]] std::byte* segment() const override { return parts_.vm->base(); }
    [[nodiscard]] const layout::RegionPlan& plan() const override { return parts_.plan; }
    [[nodiscard]] std::uint64_t peer_segment_address() const override { return parts_.client_address; }
    [[nodiscard]] heap::Pages* pages() noexcept override { return pages_.get(); }
    base::Status prepare(const layout::Extent& part, const Preparation& how) override {
        return prepare_memory(segment() + part.offset, part.bytes, how);
    }
    void ring() noexcept override;
    [[nodiscard]] const Peer& peer() const override { return parts_.vm->peer(); }
    [[nodiscard]] int ring_descriptor() const override { return parts_.bell.get(); }
    [[nodiscard]] base::FilePlace memory() const override { return parts_.vm->memory(); }
    void hang_up() noexcept override { ring(); }

  private:
    [[nodiscard]] layout::ControlPage& control() const;

    ServerLinkParts parts_;
    std::unique_ptr<heap::Pages> pages_;
    RungWriter rung_{0};
};

}  // namespace vmrpc::transport::vm
