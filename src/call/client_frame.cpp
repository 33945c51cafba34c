#include "call/client_frame.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace vmrpc::call {
namespace {

base::Result<layout::WireOffset> encode_span_place(Endpoint& endpoint, const Argument& argument,
                                                   const vmrpc_impl_span& span, CopiesIn* copies) {
    std::size_t bytes = 0;
    if (__builtin_mul_overflow(span.count, std::size_t{argument.bytes}, &bytes))
        return base::fail(VMRPC_BAD_ARGUMENT, fmt::format("a span of {} elements of {} bytes exceeds the address space",
                                                          span.count, argument.bytes));
    if (bytes == 0) return layout::WireOffset{0};
    if (span.data == nullptr)
        return base::fail(VMRPC_BAD_ARGUMENT, fmt::format("a span of {} elements at NULL", span.count));
    if (const auto place = endpoint.to_wire(span.data, bytes)) return *place;
    auto copy = copies->add(span.data, bytes, argument.alignment, argument.category == VMRPC_IMPL_SPAN_INOUT);
    VMRPC_TRY(copy);
    return *endpoint.to_wire(*copy, bytes);
}

base::Result<layout::WireOffset> encode_pointer(const Endpoint& endpoint, const Argument& argument,
                                                const void* pointer) {
    if (pointer == nullptr) return layout::WireOffset{0};
    if (const auto place = endpoint.to_wire(pointer, argument.bytes)) return *place;
    return base::fail(
        VMRPC_OUTSIDE_HEAP,
        fmt::format("pointer {} to {} bytes does not lie in the connection's heap: allocate the object with "
                    "vmrpc_malloc",
                    pointer, argument.bytes));
}

base::Status encode_argument(Endpoint& endpoint, const Argument& argument, void* value, std::byte* to,
                             CopiesIn* copies) {
    switch (argument.category) {
        case VMRPC_IMPL_SPAN:
        case VMRPC_IMPL_SPAN_INOUT: {
            const auto& span = *static_cast<const vmrpc_impl_span*>(value);
            const auto place = encode_span_place(endpoint, argument, span, copies);
            VMRPC_TRY(place);
            const WireSpan wire{*place, span.count};
            std::memcpy(to, &wire, sizeof wire);
            return {};
        }
        case VMRPC_IMPL_POINTER: {
            const auto place = encode_pointer(endpoint, argument, *static_cast<void* const*>(value));
            VMRPC_TRY(place);
            std::memcpy(to, &*place, sizeof *place);
            return {};
        }
        default:
            if (value == nullptr) return base::fail(VMRPC_BAD_ARGUMENT, "an in/out argument is NULL");
            std::memcpy(to, value, argument.bytes);
            return {};
    }
}

base::Status decode_block(Endpoint& endpoint, const Argument& argument, const std::byte* from, void* result) {
    WireSpan wire{};
    std::memcpy(&wire, from, sizeof wire);
    vmrpc_impl_span block{nullptr, 0};
    if (wire.offset != 0) {
        const auto data =
            endpoint.tame(layout::Wild(wire.offset), layout::Wild(wire.count), argument.bytes, argument.alignment);
        if (!data)
            return base::fail(VMRPC_POISONED, fmt::format("the peer returned a block of {} elements at offset {:#x}, "
                                                          "which does not lie in the heap",
                                                          wire.count, wire.offset));
        block = {*data, wire.count};
    }
    std::memcpy(result, &block, sizeof block);
    return {};
}

}  // namespace

CopiesIn::~CopiesIn() {
    for (std::size_t i = 0; i < count_; ++i) std::ignore = endpoint_.heap().release(copies_[i].block);
}

base::Result<void*> CopiesIn::add(void* data, std::size_t bytes, std::size_t alignment, bool writes_back) {
    auto block = endpoint_.heap().allocate(bytes, {.alignment = std::max(alignment, heap::kDefaultAlignment)});
    VMRPC_TRY(block);
    std::memcpy(*block, data, bytes);
    copies_[count_++] = {*block, data, bytes, writes_back};
    bytes_ += bytes;
    return block;
}

void CopiesIn::copy_back() {
    for (std::size_t i = 0; i < count_; ++i) {
        if (copies_[i].writes_back) std::memcpy(copies_[i].data, copies_[i].block, copies_[i].bytes);
    }
}

std::vector<void*> CopiesIn::take() {
    std::vector<void*> blocks;
    for (std::size_t i = 0; i < count_; ++i) blocks.push_back(copies_[i].block);
    count_ = 0;
    return blocks;
}

base::Status encode_arguments(Endpoint& endpoint, const Function& function, void* const* arguments, std::byte* frame,
                              CopiesIn* copies) {
    for (const Argument& argument : function.arguments())
        VMRPC_TRY(encode_argument(endpoint, argument, *arguments++, frame + argument.request_offset, copies));
    return {};
}

bool arguments_reach_stack(const Endpoint& endpoint, const Function& function, void* const* arguments) {
    for (const Argument& argument : function.arguments()) {
        const void* place = nullptr;
        if (argument.category == VMRPC_IMPL_SPAN || argument.category == VMRPC_IMPL_SPAN_INOUT)
            place = static_cast<const vmrpc_impl_span*>(*arguments)->data;
        if (argument.category == VMRPC_IMPL_POINTER) place = *static_cast<void* const*>(*arguments);
        if (place != nullptr && endpoint.is_on_stack(place)) return true;
        ++arguments;
    }
    return false;
}

base::Status decode_results(Endpoint& endpoint, const Function& function, const std::byte* frame,
                            void* const* arguments, void* result) {
    const Argument& returned = function.result();
    if (returned.category == VMRPC_IMPL_BLOCK)
        VMRPC_TRY(decode_block(endpoint, returned, frame + returned.result_offset, result));
    if (returned.category == VMRPC_IMPL_VALUE) std::memcpy(result, frame + returned.result_offset, returned.bytes);
    for (const Argument& argument : function.arguments()) {
        if (argument.travels_back()) std::memcpy(*arguments, frame + argument.result_offset, argument.bytes);
        ++arguments;
    }
    return {};
}

}  // namespace vmrpc::call
