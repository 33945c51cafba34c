// What the guest calls on the host.
#pragma once

#include <vmrpc/vmrpc.hpp>

#include <cstdint>
#include <span>

namespace vmrpc::bench {

struct Fixed {
    int i;
    int j;
    double d;
};

/// Plain C, with a pointer to a string that lies somewhere else in the heap.
struct Variable {
    char* s;
    double d;
};

void nothing();
double sum_bytes(InPlace<std::span<const char>> values);
double sum_fixed(InPlace<std::span<const Fixed>> values);
/// Of all characters of all strings, and of all `d`.
double sum_variable(InPlace<std::span<const Variable>> values);
/// Returns after so many milliseconds.
void hold(std::int64_t milliseconds);
/// Processor time of the server so far, in ns.
double cpu_used();

}  // namespace vmrpc::bench
