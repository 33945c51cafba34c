#include "call/function.hpp"

#include "call/plain.hpp"

#include <fmt/format.h>

#include <bit>
#include <cstring>

namespace vmrpc::call {
namespace {

const char* category_name(vmrpc_impl_category category) {
    switch (category) {
        case VMRPC_IMPL_VALUE:
            return "value";
        case VMRPC_IMPL_INOUT:
            return "inout";
        case VMRPC_IMPL_SPAN:
            return "span";
        case VMRPC_IMPL_SPAN_INOUT:
            return "span-inout";
        case VMRPC_IMPL_POINTER:
            return "pointer";
        case VMRPC_IMPL_BLOCK:
            return "block";
        case VMRPC_IMPL_NONE:
            break;
    }
    return "nothing";
}

std::string describe(const Argument& argument) {
    if (argument.category == VMRPC_IMPL_NONE) return "nothing";
    return fmt::format("{} {}/{}", category_name(argument.category), argument.bytes, argument.alignment);
}

/// How many bytes an argument takes in a frame, and how they are aligned.
std::uint32_t frame_bytes(const Argument& argument) {
    switch (argument.category) {
        case VMRPC_IMPL_VALUE:
        case VMRPC_IMPL_INOUT:
            return argument.bytes;
        case VMRPC_IMPL_SPAN:
        case VMRPC_IMPL_SPAN_INOUT:
        case VMRPC_IMPL_BLOCK:
            return sizeof(WireSpan);
        case VMRPC_IMPL_POINTER:
            return sizeof(std::uint64_t);
        case VMRPC_IMPL_NONE:
            break;
    }
    return 0;
}

std::uint32_t frame_alignment(const Argument& argument) {
    const bool is_value = argument.category == VMRPC_IMPL_VALUE || argument.category == VMRPC_IMPL_INOUT;
    return is_value ? argument.alignment : alignof(WireSpan);
}

/// Places an argument at the end of a frame of `end` bytes; returns its offset and moves the end.
std::uint32_t place(const Argument& argument, std::uint32_t& end) {
    const std::uint32_t alignment = frame_alignment(argument);
    const std::uint32_t offset = (end + alignment - 1) / alignment * alignment;
    end = offset + frame_bytes(argument);
    return offset;
}

base::Result<Argument> checked(const vmrpc_impl_argument& given, const char* name, bool is_result) {
    const bool known = given.category <= VMRPC_IMPL_BLOCK;
    const auto category = known ? static_cast<vmrpc_impl_category>(given.category) : VMRPC_IMPL_NONE;
    const bool allowed =
        is_result ? category == VMRPC_IMPL_NONE || category == VMRPC_IMPL_VALUE || category == VMRPC_IMPL_BLOCK
                  : category != VMRPC_IMPL_NONE && category != VMRPC_IMPL_BLOCK;
    if (!known || !allowed)
        return base::fail(VMRPC_BAD_ARGUMENT, fmt::format("{}: {} of category {} cannot be", name,
                                                          is_result ? "a result" : "an argument", given.category));
    if (category == VMRPC_IMPL_NONE) return Argument{};
    if (given.bytes == 0 || !std::has_single_bit(given.alignment) || given.alignment > kFrameAlignment)
        return base::fail(
            VMRPC_BAD_ARGUMENT,
            fmt::format("{}: a type of {} bytes with alignment {} cannot be passed (alignment at most {})", name,
                        given.bytes, given.alignment, kFrameAlignment));
    if (given.bytes > kMaxFrameBytes &&
        frame_bytes(Argument{.category = category, .bytes = given.bytes}) == given.bytes)
        return base::fail(VMRPC_FRAME_TOO_LARGE,
                          fmt::format("{}: a value of {} bytes; at most {} fit into a frame: pass it as a span, or by "
                                      "pointer, from the heap",
                                      name, given.bytes, kMaxFrameBytes));
    return Argument{.category = category, .flags = given.flags, .bytes = given.bytes, .alignment = given.alignment};
}

bool is_name(const char* name) {
    if (name == nullptr) return false;
    const std::size_t bytes = ::strnlen(name, kMaxNameBytes + 1);
    if (bytes == 0 || bytes > kMaxNameBytes) return false;
    return std::string_view(name, bytes).find_first_of("() \t\n") == std::string_view::npos;
}

}  // namespace

base::Result<Function> Function::from(const vmrpc_impl_function& declaration) {
    if (declaration.struct_bytes != sizeof(vmrpc_impl_function))
        return base::fail(VMRPC_BAD_ARGUMENT, fmt::format("a function declaration of {} bytes; this library knows {}: "
                                                          "build the program with this library's headers",
                                                          declaration.struct_bytes, sizeof(vmrpc_impl_function)));
    if (!is_name(declaration.name))
        return base::fail(
            VMRPC_BAD_ARGUMENT,
            fmt::format("a function's name has 1 to {} bytes, without blanks and parentheses", kMaxNameBytes));
    Function function;
    VMRPC_TRY(function.take_arguments(declaration));
    function.lay_out();
    function.write_signature(declaration);
    const std::uint64_t frame = std::uint64_t{function.request_bytes_} + function.result_bytes_;
    if (frame > kMaxFrameBytes)
        return base::fail(VMRPC_FRAME_TOO_LARGE,
                          fmt::format("{}: values of {} bytes; at most {} fit into a frame: pass them as spans, or by "
                                      "pointer, from the heap",
                                      declaration.name, frame, kMaxFrameBytes));
    return function;
}

base::Status Function::take_arguments(const vmrpc_impl_function& declaration) {
    if (declaration.argument_count > arguments_.size())
        return base::fail(VMRPC_BAD_ARGUMENT,
                          fmt::format("{}: {} arguments; at most {} are supported: pass a struct", declaration.name,
                                      declaration.argument_count, arguments_.size()));
    for (; argument_count_ < declaration.argument_count; ++argument_count_) {
        auto argument = checked(declaration.arguments[argument_count_], declaration.name, false);
        VMRPC_TRY(argument);
        arguments_[argument_count_] = *argument;
    }
    auto result = checked(declaration.result, declaration.name, true);
    VMRPC_TRY(result);
    result_ = *result;
    return {};
}

void Function::lay_out() {
    if (result_.category != VMRPC_IMPL_NONE) result_.result_offset = place(result_, result_bytes_);
    for (std::size_t i = 0; i < argument_count_; ++i) {
        arguments_[i].request_offset = place(arguments_[i], request_bytes_);
        if (arguments_[i].travels_back()) arguments_[i].result_offset = place(arguments_[i], result_bytes_);
    }
    is_plain_ = request_bytes_ <= layout::kInlineArgumentBytes && result_bytes_ <= layout::kInlineResultBytes &&
                result_.category != VMRPC_IMPL_BLOCK;
    for (const Argument& argument : arguments())
        is_plain_ &= argument.category == VMRPC_IMPL_VALUE || argument.category == VMRPC_IMPL_INOUT;
    for (const Argument& argument : arguments()) has_inouts_ |= argument.travels_back();
    plain_sizes_ = call::plain_sizes(request_bytes_, result_bytes_);
}

void Function::write_signature(const vmrpc_impl_function& declaration) {
    signature_ = declaration.name;
    name_bytes_ = signature_.size();
    signature_ += '(';
    for (std::size_t i = 0; i < argument_count_; ++i) {
        if (i != 0) signature_ += ", ";
        signature_ += describe(arguments_[i]);
    }
    signature_ += ") -> " + describe(result_);
    if (declaration.schema != 0) signature_ += fmt::format(" schema {}", declaration.schema);
}

std::string_view name_of(std::string_view signature) {
    return signature.substr(0, signature.find('('));
}

std::uint64_t fingerprint(std::string_view signature) {
    std::uint64_t hash = 0xcbf29ce484222325;
    for (const char byte : signature) hash = (hash ^ static_cast<unsigned char>(byte)) * 0x100000001b3;
    return hash;
}

}  // namespace vmrpc::call
