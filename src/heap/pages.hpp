// The memory behind a heap: which of its pages the system has set aside.
#pragma once

#include "base/result.hpp"
#include "layout/wild.hpp"

#include <cstdint>

namespace vmrpc::heap {

/// Commits pages of a segment and gives them back. Ranges are of whole spans, of this side's arena. Called with the
/// heap's mutex held, by one thread at a time.
class Pages {
  public:
    enum class Wait { kYes, kNo };

    Pages() = default;
    Pages(const Pages&) = delete;
    Pages& operator=(const Pages&) = delete;
    virtual ~Pages() = default;

    /// Sets memory aside for a range: touching it cannot fail from then on. What was committed before keeps its
    /// contents. May block for as long as the system takes to clear the pages, and where the peer does it, for an
    /// answer. Errors: VMRPC_OUT_OF_RESOURCES with the system's reason; why the connection is over.
    virtual base::Status commit(layout::Extent range) = 0;

    /// The range's contents are lost, its memory goes to the system. A later commit() of it comes after it. False:
    /// nothing happened, it is to be tried again later; only with kNo, which does not wait for the peer.
    virtual bool give_back(layout::Extent range, Wait wait) noexcept = 0;

    /// So many bytes at least are worth one commit().
    [[nodiscard]] virtual std::uint64_t step_bytes() const noexcept = 0;
};

}  // namespace vmrpc::heap
