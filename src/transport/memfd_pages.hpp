// The pages of a segment whose memory this process has as a descriptor: a memfd, or a file of a file system that can
// punch holes.
#pragma once

#include "base/fd.hpp"
#include "heap/pages.hpp"
#include "transport/huge_pages.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>

namespace vmrpc::transport {

class MemfdPages : public heap::Pages {
  public:
    /// `memory` is the segment's, and must stay open for as long as this lives.
    explicit MemfdPages(base::FilePlace memory) : memory_(memory) {}

    base::Status commit(layout::Extent range) override;
    bool give_back(layout::Extent range, Wait wait) noexcept override;
    [[nodiscard]] std::uint64_t step_bytes() const noexcept override { return std::uint64_t{256} * 1024; }

  private:
    base::FilePlace memory_;
};

/// With huge pages wherever the system has them at that moment. A part of one that is given back splits it.
class TransparentPages final : public MemfdPages {
  public:
    /// `segment` is mapped here, and the system advised on it, for as long as this lives.
    TransparentPages(base::FilePlace memory, std::byte* segment) : MemfdPages(memory), segment_(segment) {}

    base::Status commit(layout::Extent range) override;
    [[nodiscard]] std::uint64_t step_bytes() const noexcept override { return kHugePageBytes; }

  private:
    std::byte* segment_;
};

/// Of the pool: all of them were taken when the segment was mapped, and go with it. Of a device: they are another
/// domain's, which alone can take and give them.
class PresentPages final : public heap::Pages {
  public:
    base::Status commit(layout::Extent /*range*/) override { return {}; }
    bool give_back(layout::Extent /*range*/, Wait /*wait*/) noexcept override { return true; }
    [[nodiscard]] std::uint64_t step_bytes() const noexcept override { return std::uint64_t{256} * 1024; }
};

/// Whether a descriptor is a character device's, as a guest's shared memory is.
[[nodiscard]] bool is_device(int descriptor) noexcept;

/// Those of a segment's memory. `flags` are those of the plan of what lies in it.
std::unique_ptr<heap::Pages> pages_of(base::FilePlace memory, std::byte* segment, std::uint32_t flags);

}  // namespace vmrpc::transport
