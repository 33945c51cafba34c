// What the demo's client calls in the demo's server. Declared here for both; the client is never linked with them.
#pragma once

#include <vmrpc/vmrpc.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace demo {

/// What is known of a file after it was read once.
struct Summary {
    std::array<std::uint8_t, 32> sha256{};
    std::uint64_t lines = 0;

    friend bool operator==(const Summary&, const Summary&) = default;
};

/// Data of fixed size.
struct Fixed {
    int i;
    int j;
    double d;
};

/// Data of variable size: plain C, with a pointer to a string that lies somewhere else in the heap.
struct Variable {
    char* s;
    double d;
};

// InPlace: client and server trust each other, so nothing needs to be copied before it is read.
Summary summarize(vmrpc::InPlace<std::span<const std::byte>> content);
double sum_bytes(vmrpc::InPlace<std::span<const char>> values);
double sum_fixed(vmrpc::InPlace<std::span<const Fixed>> values);
/// The sum of all characters of all strings, and of all `d`. Fails for a client that is not trusted.
double sum_variable(vmrpc::InPlace<std::span<const Variable>> values);
void nothing();

}  // namespace demo
