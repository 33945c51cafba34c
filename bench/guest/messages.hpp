// What host and guest say to each other, through a virtio-serial port.
#pragma once

#include "support/stats.hpp"

#include <array>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace vmrpc::bench {

inline constexpr auto kPortName = "vmrpc.bench";

/// Host to guest: measure this, once.
struct Order {
    std::uint32_t workload = 0;  // index in guest_workloads()
    double scale = 1;            // of the counts
};

/// Guest to host: what came out, or why nothing did.
struct Answer {
    bool measured = false;
    Figures figures = {};
    std::array<char, 400> why{};

    static Answer failed(std::string_view text) {
        Answer answer;
        text.copy(answer.why.data(), answer.why.size() - 1);
        return answer;
    }
};

}  // namespace vmrpc::bench
