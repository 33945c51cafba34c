// The pages of a segment whose memory this process has as a descriptor.
#pragma once

#include "heap/pages.hpp"

#include <cstdint>

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

}  // namespace vmrpc::transport
