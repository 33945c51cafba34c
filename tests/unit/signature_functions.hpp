// Functions that two translation units of a program know. None of them is defined anywhere.
#pragma once

#include "signature_in_c.h"

#include <vmrpc/vmrpc.hpp>

#include <cstdint>
#include <span>
#include <string_view>

double signature_mean(std::span<const double> values);
void signature_scale(std::span<float> values, double factor);
signature_pair signature_count(const signature_pair& start, std::string_view text);
void signature_swap(std::int32_t& left, signature_pair& right);
char signature_tag(vmrpc::Ptr<signature_pair> pair);
vmrpc::Array<std::uint16_t> signature_make(std::uint64_t count);
void signature_nothing();
int signature_in_place(vmrpc::InPlace<std::span<const signature_pair>> pairs, vmrpc::InPlace<std::span<char>> text);
int signature_eight(std::int8_t a, std::int16_t b, std::int32_t c, std::int64_t d, float e, double f, char g,
                    std::uint64_t h);

namespace signature::nested {
void inner(int value) noexcept;
}

namespace signature {

inline constexpr auto kRenamed = vmrpc::named<"stats.mean", double(std::span<const double>)>;
inline constexpr auto kThird = vmrpc::named<"stats.mean", double(std::span<const double>), 3>;

/// What the C++ API makes of a function.
template <auto kFunction>
VMRPC_IMPL_NODEBUG vmrpc_impl_function& declared() {
    return decltype(vmrpc::detail::stub_of<kFunction>())::declaration();
}

/// The numbers of signature_mean and of C's declaration of it, as another translation unit gets them.
std::uint32_t id_of_mean_elsewhere();

}  // namespace signature
