// The functions that the tests of the C++ API call; cpp_api_server.cpp serves them.
#pragma once

#include <vmrpc/vmrpc.hpp>

#include <cstdint>
#include <span>
#include <string_view>

namespace cpp_api {

struct Pair {
    std::int32_t left = 0;
    double right = 0;
    friend bool operator==(const Pair&, const Pair&) = default;
};
/// Data that holds a pointer that travels.
struct Node {
    std::int64_t value = 0;
    vmrpc::Ptr<Node> next;
};
/// What a function saw of a span: where it lay, and whether that is in the connection's memory.
struct Seen {
    std::uint64_t address = 0;
    std::uint64_t sum = 0;
    bool in_segment = false;
};

std::int64_t add(std::int32_t left, std::int64_t right);
Pair mirror(const Pair& pair);
void swap(std::int32_t& left, std::int32_t& right);
bool negate(bool value) noexcept;
double mean(std::span<const double> values);
void increment(std::span<std::int32_t> values);
std::uint64_t length(std::string_view text);

Seen look(std::span<const std::uint8_t> bytes);
Seen look_writable(std::span<std::uint8_t> bytes);
Seen look_at_text(std::string_view text);
Seen look_at_pairs(std::span<const Pair> pairs);
void scale_pairs(std::span<Pair> pairs, std::int32_t by);
Seen look_in_place(vmrpc::InPlace<std::span<const Pair>> pairs);
Seen look_at_text_in_place(vmrpc::InPlace<std::string_view> text);

std::int64_t sum_list(vmrpc::Ptr<Node> first);
bool is_null(vmrpc::Ptr<Node> node);
std::int32_t bump(Pair* pair);
vmrpc::Ptr<Node> same(vmrpc::Ptr<Node> node);

vmrpc::Array<std::uint32_t> squares(std::uint64_t count);
void fail_with(std::string_view text);
void fail_oddly();
void wait_for_release();
vmrpc::Array<std::uint32_t> squares_after_release(std::uint64_t count, std::span<const std::uint8_t> bytes);

struct Facts {
    std::uint64_t connection_number;
    std::uint32_t uid;
    std::uint32_t gid;
    std::uint32_t pid;
    std::uint32_t vm;
    bool trusted;
};
Facts facts();
std::int32_t count_calls();

inline constexpr auto kRenamed = vmrpc::named<"cpp_api.renamed", std::int32_t(std::int32_t)>;
/// Served with schema 2 only.
inline constexpr auto kSchema1 = vmrpc::named<"cpp_api.schema", std::int32_t(), 1>;
inline constexpr auto kSchema2 = vmrpc::named<"cpp_api.schema", std::int32_t(), 2>;

/// Declared, and served by nobody.
std::int32_t absent(std::int32_t value);

}  // namespace cpp_api
