// A server's link to a client that is not there: its region, in memory of this process that the target scribbles over.
#pragma once

#include "layout/plan.hpp"
#include "transport/mapping.hpp"
#include "transport/memfd_pages.hpp"
#include "transport/transport.hpp"

#include <fcntl.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>

namespace vmrpc::fuzz {

/// A segment with one region, formatted anew for each run.
class Region {
  public:
    explicit Region(const layout::RegionSizes& sizes)
        : bytes_(layout::segment_bytes_for(sizes)),
          plan_(layout::plan_region(layout::kAreaBytes, sizes)),
          memory_(transport::make_segment_memory(bytes_).value()),
          mapping_(transport::Mapping::anywhere(memory_.get(), bytes_, layout::make_uuid()).value()) {}

    void format() const {
        if (::fallocate(memory_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(bytes_)) != 0)
            std::abort();
        layout::format_segment(base(), bytes_, 1, {}, "fuzz");
        layout::format_region(base(), plan_);
    }
    [[nodiscard]] std::byte* base() const { return mapping_->base(); }
    [[nodiscard]] std::span<std::byte> bytes() const { return {base(), bytes_}; }
    [[nodiscard]] std::span<std::byte> bytes(std::uint64_t offset, std::uint64_t bytes) const {
        return this->bytes().subspan(offset, bytes);
    }
    [[nodiscard]] int memory() const { return memory_.get(); }
    [[nodiscard]] const layout::RegionPlan& plan() const { return plan_; }
    [[nodiscard]] layout::ControlPage& control() const {
        return *reinterpret_cast<layout::ControlPage*>(base() + plan_.region_offset);
    }

  private:
    std::uint64_t bytes_;
    layout::RegionPlan plan_;
    notify::GuardedFd memory_;
    std::shared_ptr<transport::Mapping> mapping_;
};

class RegionLink final : public transport::ServerLink {
  public:
    explicit RegionLink(const Region& region) : region_(region) {}
    [[nodiscard]] std::byte* segment() const override { return region_.base(); }
    [[nodiscard]] const layout::RegionPlan& plan() const override { return region_.plan(); }
    [[nodiscard]] std::uint64_t peer_segment_address() const override { return 0; }
    [[nodiscard]] heap::Pages* pages() noexcept override { return &pages_; }
    base::Status prepare(const layout::Extent& /*part*/, const transport::Preparation& /*how*/) override { return {}; }
    void ring() noexcept override {}
    [[nodiscard]] const transport::Peer& peer() const override { return peer_; }
    [[nodiscard]] base::FilePlace memory() const override { return region_.memory(); }
    [[nodiscard]] int ring_descriptor() const override { return -1; }
    void hang_up() noexcept override {}

  private:
    const Region& region_;
    transport::MemfdPages pages_{region_.memory()};
    transport::Peer peer_;
};

}  // namespace vmrpc::fuzz
