// The pages of a segment whose memory this process has as a descriptor.
#pragma once

#include "heap/pages.hpp"

#include <cstdint>
#include <memory>

namespace vmrpc::transport {

class MemfdPages final : public heap::Pages {
  public:
    /// `memory` is the segment's, and must stay open for as long as this lives.
    explicit MemfdPages(int memory) : memory_(memory) {}

    base::Status commit(layout::Extent range) override;
    bool give_back(layout::Extent range, Wait wait) noexcept override;
    [[nodiscard]] std::uint64_t step_bytes() const noexcept override { return std::uint64_t{256} * 1024; }

  private:
    int memory_;
};

/// Huge pages: all of them were taken when the segment was mapped, and go with it.
class HugePages final : public heap::Pages {
  public:
    base::Status commit(layout::Extent /*range*/) override { return {}; }
    bool give_back(layout::Extent /*range*/, Wait /*wait*/) noexcept override { return true; }
    [[nodiscard]] std::uint64_t step_bytes() const noexcept override { return std::uint64_t{256} * 1024; }
};

/// Those of a segment's memory.
std::unique_ptr<heap::Pages> pages_of(int memory);

}  // namespace vmrpc::transport
