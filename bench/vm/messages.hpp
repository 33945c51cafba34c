// What host and guest say to each other, through a virtio-serial port.
#pragma once

#include "support/stats.hpp"
#include "vm/idle.hpp"

#include <array>
#include <cstdint>
#include <string_view>

namespace vmrpc::bench {

inline constexpr auto kPortName = "vmrpc.bench";

/// Host to guest: measure this, once.
struct Order {
    enum class List : std::uint32_t { kWorkloads, kWatches };
    List list = List::kWorkloads;
    std::uint32_t index = 0;  // in guest_workloads() or in guest_watches()
    double scale = 1;         // of the counts
};

/// Guest to host: what came out, or why nothing did.
struct Answer {
    bool measured = false;
    Figures figures = {};
    IdleCpu idle = {};
    bool has_vfio = false;  // VFIO has a device of the guest: it is interrupted
    std::array<char, 400> why{};

    static Answer failed(std::string_view text) {
        Answer answer;
        text.copy(answer.why.data(), answer.why.size() - 1);
        return answer;
    }
};

}  // namespace vmrpc::bench
