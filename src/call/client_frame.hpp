// From a caller's arguments to a request's frame, and from results back: the requesting side.
#pragma once

#include "base/result.hpp"
#include "call/endpoint.hpp"
#include "call/function.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace vmrpc::call {

/// Copies into the heap of spans that did not lie there. Frees them when it goes, unless they were taken.
class CopiesIn {
  public:
    explicit CopiesIn(Endpoint& endpoint) : endpoint_(endpoint) {}
    CopiesIn(const CopiesIn&) = delete;
    CopiesIn& operator=(const CopiesIn&) = delete;
    ~CopiesIn();

    /// A copy of `bytes` bytes at `data`, which copy_back() returns there if `writes_back`.
    base::Result<void*> add(void* data, std::size_t bytes, std::size_t alignment, bool writes_back);
    void copy_back();
    /// The blocks, which the caller frees from now on.
    [[nodiscard]] std::vector<void*> take();
    [[nodiscard]] std::size_t count() const { return count_; }
    [[nodiscard]] std::uint64_t bytes() const { return bytes_; }

  private:
    struct Copy {
        void* block;
        void* data;
        std::size_t bytes;
        bool writes_back;
    };
    Endpoint& endpoint_;
    std::array<Copy, VMRPC_IMPL_MAX_ARGUMENTS> copies_;  // the first count_ of them: not cleared for each call
    std::size_t count_ = 0;
    std::uint64_t bytes_ = 0;
};

/// Writes the frame of a call; arguments as vmrpc_impl_category says. Spans outside of the shared memory are copied in.
/// `copies` may be nullptr for a function without spans.
/// Errors: VMRPC_OUTSIDE_HEAP (a pointer that does not lie in the heap), VMRPC_HEAP_FULL (for a copy),
/// VMRPC_BAD_ARGUMENT (a span larger than the address space).
base::Status encode_arguments(Endpoint& endpoint, const Function& function, void* const* arguments, std::byte* frame,
                              CopiesIn* copies);

/// Whether a span or a pointer among the arguments means memory of an RPC stack.
[[nodiscard]] bool arguments_reach_stack(const Endpoint& endpoint, const Function& function, void* const* arguments);

/// Takes the results out of their frame, a private copy or memory that a trusted server wrote.
/// Errors: VMRPC_POISONED (a block outside of the heap).
base::Status decode_results(Endpoint& endpoint, const Function& function, const std::byte* frame,
                            void* const* arguments, void* result);

}  // namespace vmrpc::call
