#include "call/server_frame.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace vmrpc::call {
namespace {

base::Status outside(const Argument& argument, std::size_t index, const WireSpan& wire) {
    return base::fail(
        VMRPC_OUTSIDE_HEAP,
        fmt::format("argument {}: {} elements of {} bytes at offset {:#x} do not lie in the connection's heap, "
                    "or are not aligned to {}",
                    index + 1, wire.count, argument.bytes, wire.offset, argument.alignment));
}

/// Whether the function may see the elements where they are, although the client can change them meanwhile.
bool in_place(const Endpoint& endpoint, const Argument& argument, std::uint64_t bytes) {
    const bool is_trusted = endpoint.trusted() || endpoint.side() == layout::Side::kClient;  // clients trust servers
    if (is_trusted || (argument.flags & VMRPC_IMPL_IN_PLACE) != 0) return true;
    return bytes > kSnapshotBytes && (argument.flags & VMRPC_IMPL_ARITHMETIC) != 0;
}

}  // namespace

base::Status ServerFrame::decode(const Endpoint& endpoint, const Function& function) {
    write_back_count_ = snapshot_end_ = 0;
    if (!copies_.empty()) copies_.clear();
    copy_count_ = copied_bytes_ = span_bytes_ = private_spans_ = 0;
    std::size_t index = 0;
    for (const Argument& argument : function.arguments()) {
        arguments_[index] = request() + argument.request_offset;
        if (argument.category == VMRPC_IMPL_SPAN || argument.category == VMRPC_IMPL_SPAN_INOUT)
            VMRPC_TRY(decode_span(endpoint, argument, index));
        if (argument.category == VMRPC_IMPL_POINTER) VMRPC_TRY(decode_pointer(endpoint, argument, index));
        ++index;
    }
    return {};
}

base::Status ServerFrame::decode_span(const Endpoint& endpoint, const Argument& argument, std::size_t index) {
    WireSpan wire{};
    std::memcpy(&wire, arguments_[index], sizeof wire);
    arguments_[index] = &spans_[index];
    spans_[index] = {nullptr, 0};
    if (wire.count == 0) return {};
    const auto data =
        endpoint.tame(layout::Wild(wire.offset), layout::Wild(wire.count), argument.bytes, argument.alignment);
    if (!data) return outside(argument, index, wire);
    spans_[index] = {*data, wire.count};
    const std::uint64_t bytes = wire.count * argument.bytes;
    span_bytes_ += bytes;
    if (in_place(endpoint, argument, bytes)) return {};
    auto copy = private_copy(argument, *data, bytes);
    VMRPC_TRY(copy);
    spans_[index].data = *copy;
    ++private_spans_;
    return {};
}

base::Result<std::byte*> ServerFrame::private_copy(const Argument& argument, std::byte* data, std::uint64_t bytes) {
    std::byte* copy = nullptr;
    if (bytes <= kSnapshotBytes) {
        copy = snapshot_room(bytes, argument.alignment);
    } else {
        const std::uint64_t rounded = (bytes + kFrameAlignment - 1) / kFrameAlignment * kFrameAlignment;
        copy = static_cast<std::byte*>(std::aligned_alloc(kFrameAlignment, rounded));
        if (copy == nullptr)
            return base::fail(
                VMRPC_OUT_OF_RESOURCES,
                fmt::format("no memory for a private copy of a span of {} bytes: declare it InPlace, or let "
                            "both sides trust each other",
                            bytes));
        copies_.emplace_back(copy, [](std::byte* block) { std::free(block); });
        ++copy_count_;
        copied_bytes_ += bytes;
    }
    layout::copy_from_peer(copy, data, bytes);
    if (argument.category == VMRPC_IMPL_SPAN_INOUT) write_backs_[write_back_count_++] = {data, copy, bytes};
    return copy;
}

std::byte* ServerFrame::snapshot_room(std::uint64_t bytes, std::uint32_t alignment) {
    const std::size_t begin = (snapshot_end_ + alignment - 1) / alignment * alignment;
    snapshot_end_ = begin + bytes;
    return snapshots_.data() + begin;
}

base::Status ServerFrame::decode_pointer(const Endpoint& endpoint, const Argument& argument, std::size_t index) {
    WireSpan wire{0, 1};
    std::memcpy(&wire.offset, arguments_[index], sizeof wire.offset);
    arguments_[index] = &pointers_[index];
    pointers_[index] = nullptr;
    if (wire.offset == 0) return {};
    const auto object =
        endpoint.tame(layout::Wild(wire.offset), layout::Wild(wire.count), argument.bytes, argument.alignment);
    if (!object) return outside(argument, index, wire);
    pointers_[index] = *object;
    return {};
}

base::Status ServerFrame::encode_results(const Endpoint& endpoint, const Function& function) {
    for (std::size_t i = 0; i < write_back_count_; ++i)
        std::memcpy(write_backs_[i].to, write_backs_[i].from, write_backs_[i].bytes);
    const Argument& returned = function.result();
    std::byte* to = results_.bytes.data();
    if (returned.category == VMRPC_IMPL_VALUE) std::memcpy(to + returned.result_offset, result(), returned.bytes);
    if (returned.category == VMRPC_IMPL_BLOCK) {
        vmrpc_impl_span block{};
        std::memcpy(&block, result(), sizeof block);
        WireSpan wire{0, 0};
        if (block.data != nullptr) {
            std::uint64_t bytes = 0;
            const bool fits = !__builtin_mul_overflow(block.count, std::uint64_t{returned.bytes}, &bytes);
            const auto place = fits ? endpoint.to_wire(block.data, bytes) : std::nullopt;
            if (!place)
                return base::fail(VMRPC_FUNCTION_FAILED,
                                  fmt::format("{} returned a block at {} that is not of the calling connection's heap",
                                              function.name(), block.data));
            wire = {*place, block.count};
        }
        std::memcpy(to + returned.result_offset, &wire, sizeof wire);
    }
    for (std::size_t i = 0; i < function.arguments().size(); ++i) {
        const Argument& argument = function.arguments()[i];
        if (argument.travels_back()) std::memcpy(to + argument.result_offset, arguments_[i], argument.bytes);
    }
    return {};
}

}  // namespace vmrpc::call
