// What is measured: each way to have the memory with each way to ring, in a guest of its own.
#pragma once

#include "support/stats.hpp"

#include <string>
#include <vector>

namespace vmrpc::bench {

struct Combination {
    std::string memory;            // as behind memory= in an address
    std::string ring;              // as behind ring=
    std::string spin_ring = ring;  // of the service that spins: another one where a guest can have one such device only
    std::vector<std::string> modules = {};  // that the guest needs for its bell
    bool iommu = false;                     // the same
    double ring_goal = kUnknown;            // of ring_vs_tcp

    [[nodiscard]] std::string name() const { return memory + " " + ring; }
    /// In JSON.
    [[nodiscard]] std::string key() const { return memory + "_" + ring; }
};

/// All of them; one more is one more line.
inline const std::vector<Combination>& combinations() {
    static const std::vector<std::string> vfio{"vfio-pci", "vfio_iommu_type1"};
    static const std::vector<Combination> all{
        {.memory = "dax", .ring = "doorbell", .modules = vfio, .iommu = true, .ring_goal = 2.5},
        {.memory = "dax", .ring = "vsock", .spin_ring = "poll", .modules = {"vmw_vsock_virtio_transport"}},
        {.memory = "dax", .ring = "poll"},
        {.memory = "bar", .ring = "doorbell", .modules = vfio, .iommu = true, .ring_goal = 2.5},
        {.memory = "bar", .ring = "poll"},
    };
    return all;
}

}  // namespace vmrpc::bench
