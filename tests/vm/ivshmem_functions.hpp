// What the test's server on the host serves to the programs in the guests.
#pragma once

#include <vmrpc/vmrpc.hpp>

#include <cstdint>
#include <span>

namespace ivshmem_test {

struct Node {
    std::int64_t value;
    const Node* next;
};

std::int64_t add(std::int64_t a, std::int64_t b);
double mean(std::span<const double> values);
void negate(std::span<double> values);
/// The address at which the server sees the values.
std::uint64_t address_of(std::span<const double> values);
/// Follows plain C pointers.
std::int64_t sum_list(vmrpc::Ptr<Node> first);
void sleep_ms(std::uint32_t milliseconds);
/// Bytes that the host has set aside for the memory of all VMs.
std::uint64_t memory_bytes();
/// Number of the calling VM.
std::uint32_t own_vm();
/// Connections that have been closed so far.
std::uint32_t closed_count();

}  // namespace ivshmem_test
