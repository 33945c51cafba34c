// Functions: their canonical signature, and how their arguments lie in a frame.
#pragma once

#include "base/result.hpp"
#include "layout/lane.hpp"

#include <vmrpc/vmrpc.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace vmrpc::call {

/// Values by value, both ways together, in bytes. Larger ones belong into the heap, as a span.
inline constexpr std::uint32_t kMaxFrameBytes = 64 * 1024;
/// Alignment of frames, and the largest of an argument.
inline constexpr std::uint32_t kFrameAlignment = 64;

/// A frame on the RPC stack: the request's arguments, unless they fit into the request's line, then room for the
/// results, unless they fit into the reply's line; each part starts aligned. In bytes.
constexpr std::uint64_t align_frame(std::uint64_t bytes) {
    return (bytes + kFrameAlignment - 1) / kFrameAlignment * kFrameAlignment;
}
constexpr std::uint64_t stacked_request_bytes(std::uint32_t request_bytes) {
    return request_bytes > layout::kInlineArgumentBytes ? align_frame(request_bytes) : 0;
}
constexpr std::uint64_t stacked_result_bytes(std::uint32_t result_bytes) {
    return result_bytes > layout::kInlineResultBytes ? align_frame(result_bytes) : 0;
}

/// What travels in a frame for a span, and for a block that is returned.
struct WireSpan {
    std::uint64_t offset;  // layout::WireOffset
    std::uint64_t count;
};

/// One argument, or the result, and its place in the frames.
struct Argument {
    vmrpc_impl_category category = VMRPC_IMPL_NONE;
    std::uint32_t flags = 0;
    std::uint32_t bytes = 0;
    std::uint32_t alignment = 1;
    std::uint32_t request_offset = 0;  // in the frame of the request
    std::uint32_t result_offset = 0;   // in the frame of results

    [[nodiscard]] bool travels_back() const { return category == VMRPC_IMPL_INOUT; }
};

/// A function as both sides know it. Immutable.
class Function {
  public:
    /// Checks a declaration and works out its frames.
    /// Errors: VMRPC_BAD_ARGUMENT (a name or descriptor that cannot be), VMRPC_FRAME_TOO_LARGE.
    static base::Result<Function> from(const vmrpc_impl_function& declaration);

    /// "ns::mean(span 8/8, value 4/4) -> value 8/8": name, then for each argument and the result its category, bytes
    /// and alignment; " schema 3" if the user gave a number.
    [[nodiscard]] const std::string& signature() const { return signature_; }
    [[nodiscard]] std::string_view name() const { return std::string_view(signature_).substr(0, name_bytes_); }
    [[nodiscard]] std::span<const Argument> arguments() const { return {arguments_.data(), argument_count_}; }
    [[nodiscard]] const Argument& result() const { return result_; }
    [[nodiscard]] std::uint32_t request_bytes() const { return request_bytes_; }
    [[nodiscard]] std::uint32_t result_bytes() const { return result_bytes_; }
    /// Only values, and all of them fit into the request's and the reply's line. See plain.hpp.
    [[nodiscard]] bool is_plain() const { return is_plain_; }
    /// Whether anything travels: arguments, or a result.
    [[nodiscard]] bool has_values() const { return plain_sizes_ != 0; }
    /// Whether an argument is written back to where it came from.
    [[nodiscard]] bool has_inouts() const { return has_inouts_; }
    /// The word of sizes in its requests, if it is.
    [[nodiscard]] std::uint64_t plain_sizes() const { return plain_sizes_; }

  private:
    base::Status take_arguments(const vmrpc_impl_function& declaration);
    void lay_out();
    void write_signature(const vmrpc_impl_function& declaration);

    // What every call looks at comes first, in one line.
    bool is_plain_ = false;
    bool has_inouts_ = false;
    std::uint32_t request_bytes_ = 0;
    std::uint32_t result_bytes_ = 0;
    std::uint64_t plain_sizes_ = 0;
    std::size_t argument_count_ = 0;
    Argument result_;
    std::array<Argument, VMRPC_IMPL_MAX_ARGUMENTS> arguments_{};
    std::string signature_;
    std::size_t name_bytes_ = 0;
};

/// The name in front of a signature's argument list.
std::string_view name_of(std::string_view signature);

/// 64-bit FNV-1a (draft-eastlake-fnv) of a signature: tells signatures apart at a glance; equality is checked on the
/// strings.
std::uint64_t fingerprint(std::string_view signature);

inline constexpr std::size_t kMaxNameBytes = 256;
inline constexpr std::size_t kMaxSignatureBytes = 768;
/// Different functions in one process.
inline constexpr std::uint32_t kMaxFunctions = 4096;

/// A function with the number that this process knows it by, from 1.
struct Registered {
    const Function* function = nullptr;
    std::uint32_t id = 0;
};

/// Gives a declaration its number at first use (written to its `id`), and finds it afterwards: one load. Equal
/// declarations of several translation units share a number. Any thread. Nothing is ever unregistered.
/// Errors: those of Function::from; VMRPC_OUT_OF_RESOURCES beyond kMaxFunctions.
base::Result<Registered> registered(vmrpc_impl_function& declaration);

namespace detail {
/// By number; each written once, before its number is published.
extern std::array<const Function*, kMaxFunctions> functions;
}  // namespace detail

/// A declaration's number; 0, which is no function's, if it has none yet. Not checked against kMaxFunctions.
inline std::uint32_t number_of(const vmrpc_impl_function& declaration) {
    // acquire: pairs with the release in registered(). Not an atomic_ref, which C++20 has for what is not const alone.
    return __atomic_load_n(&declaration.id, __ATOMIC_ACQUIRE);
}
/// The same as registered() for a declaration that has its number already; else no function.
inline Registered registered_before(const vmrpc_impl_function& declaration) {
    const std::uint32_t id = number_of(declaration);
    if (id >= kMaxFunctions) return {};
    return {detail::functions[id], id};
}

}  // namespace vmrpc::call
