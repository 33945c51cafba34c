// From a request's frame to a function's arguments, and from its results back: the serving side.
#pragma once

#include "base/result.hpp"
#include "call/endpoint.hpp"
#include "call/function.hpp"
#include "call/plain.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace vmrpc::call {

/// Up to this size a span of an untrusted client's reaches the function as a private snapshot, in bytes.
inline constexpr std::uint64_t kSnapshotBytes = VMRPC_IMPL_SNAPSHOT_BYTES;

/// A function's arguments in private memory, while it runs. Reused from call to call.
class ServerFrame {
  public:
    /// Room for a request's frame, aligned to kFrameAlignment.
    [[nodiscard]] std::byte* request() { return request_.bytes.data(); }
    /// The results' frame, after encode_results().
    [[nodiscard]] const std::byte* results() const { return results_.bytes.data(); }

    /// Makes `function`'s arguments of request()'s bytes, which the caller copied there. Every span and pointer is
    /// checked against the connection's memory; what an untrusted client could change under the function's eyes is
    /// snapshot, or copied, as DESIGN of the API says (docs/ARCHITECTURE.md, "In place").
    /// Errors: VMRPC_OUTSIDE_HEAP (outside or misaligned), VMRPC_OUT_OF_RESOURCES (no memory for a copy).
    base::Status decode(const Endpoint& endpoint, const Function& function);

    /// The same for a plain function, whose arguments are values only. Not inlined, nor is put_values(): they would
    /// take registers from the way of those without values.
    [[gnu::noinline]] void point_to_values(const Function& function) {
        auto* place = arguments_.data();
        for (const Argument& argument : function.arguments()) *place++ = request() + argument.request_offset;
    }
    /// After a plain function has returned: its results' frame.
    [[gnu::noinline]] void put_values(const Function& function, std::byte* to) const {
        if (const Argument& returned = function.result(); returned.category == VMRPC_IMPL_VALUE)
            copy_value(to + returned.result_offset, result_.bytes.data(), returned.bytes);
        const auto* place = arguments_.data();
        for (const Argument& argument : function.arguments()) {
            if (argument.travels_back()) copy_value(to + argument.result_offset, *place, argument.bytes);
            ++place;
        }
    }

    /// For the handler.
    [[nodiscard]] void* const* arguments() const { return arguments_.data(); }
    [[nodiscard]] void* result() { return result_.bytes.data(); }

    /// After the function has returned: writes spans back that were copied, and the results' frame.
    /// Errors: VMRPC_FUNCTION_FAILED (it returned a block that is not of this connection's heap).
    base::Status encode_results(const Endpoint& endpoint, const Function& function);

    /// Copies made because they could not be avoided, of the last call.
    [[nodiscard]] std::uint64_t copies() const { return copy_count_; }
    [[nodiscard]] std::uint64_t copied_bytes() const { return copied_bytes_; }
    /// Of all spans of the last call.
    [[nodiscard]] std::uint64_t span_bytes() const { return span_bytes_; }
    /// Spans of the last call that did not reach the function in place: snapshots, and copies.
    [[nodiscard]] std::uint64_t private_spans() const { return private_spans_; }

  private:
    struct alignas(kFrameAlignment) Frame {
        std::array<std::byte, kMaxFrameBytes> bytes;
    };
    struct WriteBack {
        std::byte* to;
        const std::byte* from;
        std::uint64_t bytes;
    };
    base::Status decode_span(const Endpoint& endpoint, const Argument& argument, std::size_t index);
    base::Status decode_pointer(const Endpoint& endpoint, const Argument& argument, std::size_t index);
    base::Result<std::byte*> private_copy(const Argument& argument, std::byte* data, std::uint64_t bytes);
    std::byte* snapshot_room(std::uint64_t bytes, std::uint32_t alignment);

    Frame request_;
    Frame results_;
    Frame result_;
    std::array<void*, VMRPC_IMPL_MAX_ARGUMENTS> arguments_{};
    std::array<vmrpc_impl_span, VMRPC_IMPL_MAX_ARGUMENTS> spans_{};
    std::array<void*, VMRPC_IMPL_MAX_ARGUMENTS> pointers_{};
    std::array<WriteBack, VMRPC_IMPL_MAX_ARGUMENTS> write_backs_{};
    std::size_t write_back_count_ = 0;
    /// Snapshots lie one after the other; every span fits, each with its alignment.
    alignas(
        kFrameAlignment) std::array<std::byte, VMRPC_IMPL_MAX_ARGUMENTS*(kSnapshotBytes + kFrameAlignment)> snapshots_;
    std::size_t snapshot_end_ = 0;
    std::vector<std::unique_ptr<std::byte[], void (*)(std::byte*)>> copies_;
    std::uint64_t copy_count_ = 0;
    std::uint64_t copied_bytes_ = 0;
    std::uint64_t span_bytes_ = 0;
    std::uint64_t private_spans_ = 0;
};

}  // namespace vmrpc::call
