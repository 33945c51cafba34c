// The functions that the conformance suite calls, over every transport.
#pragma once

#include <vmrpc/vmrpc.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace conformance {

struct Counter {
    std::int64_t value;
    std::int64_t steps;
};

/// Too large for a request's line, and for a reply's.
struct Big {
    std::array<std::uint64_t, 500> words;
};

/// A plain C list: what unmodified C code would build.
struct Node {
    Node* next;
    std::int64_t value;
};

/// The same without plain pointers, for unequal addresses.
struct FarNode {
    vmrpc::Ptr<FarNode> next;
    std::int64_t value;
};

struct CallerFacts {
    std::uint64_t connection_number;
    std::uint32_t uid;
    std::uint32_t vm;
    std::int32_t trusted;
    std::int32_t calls;  // counted in the connection's state
};

struct HeapFacts {
    std::uint64_t live_blocks;
    std::uint64_t live_bytes;
};

void null();
std::int64_t add(std::int64_t a, std::int32_t b);
void bump(Counter& counter, const Counter& by);
Big reverse(const Big& big);
double sum(std::span<const double> values);
void scale(std::span<double> values, double factor);
/// Takes its time before it does so.
void scale_slowly(std::span<double> values, double factor, std::int32_t duration_ms);
std::uint64_t digest(std::string_view text);
vmrpc::Array<std::int64_t> iota(std::int64_t count);
std::int64_t sum_list(Node* head);
/// Adds a node of the server's own arena to the end.
void append(Node* head, std::int64_t value);
std::int64_t sum_far_list(vmrpc::Ptr<FarNode> head);
/// Frees a block of the client's.
void take(vmrpc::Ptr<std::byte> block);
void fail(std::string_view text);
void sleep_ms(std::int32_t duration_ms);
/// Executes until the word is no longer 0, or for half a minute.
void wait_for_word(vmrpc::Ptr<std::uint32_t> word);
/// On workers. The second writes 2 to the word when it begins, and executes until the word is 1, or until it is
/// cancelled, which it says by throwing.
std::int64_t add_on_worker(std::int64_t a, std::int32_t b);
void wait_on_worker(vmrpc::Ptr<std::uint32_t> word);
vmrpc::Array<std::int64_t> iota_on_worker(std::int64_t count);
CallerFacts who();
HeapFacts server_heap();

/// Where the function's stack is in the server.
std::uint64_t stack_of_function();
constexpr std::uint64_t kSecret = 0x5ec4e75ec4e75ec4;
/// Leaves some KiB of kSecret on its stack, and says where.
std::uint64_t leave_secrets();
/// Leaves a line of kSecret that far down its stack, touches nothing in between, and says where.
std::uint64_t leave_secret_below(std::uint64_t bytes);
/// Never comes to the end of its recursion.
std::int32_t run_over(std::int32_t depth);
/// Writes over the words from its frame up to `end` that are ~`inverse`.
void write_over(std::uint64_t inverse, std::uint64_t end);

/// The server's own implementation of `digest`, to check against.
inline std::uint64_t digest_of(std::string_view text) {
    std::uint64_t hash = 1469598103934665603U;
    for (const char byte : text) hash = (hash ^ static_cast<unsigned char>(byte)) * 1099511628211U;
    return hash;
}

}  // namespace conformance
