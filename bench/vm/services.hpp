// The two services that each guest can call: one spins, one sleeps. Each has a folder and a device of its own, set up
// as `vmrpc qemu-args` sets them up.
#pragma once

#include "support/scratch_folder.hpp"
#include "vm/combinations.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace vmrpc::bench {

/// The order of their devices by size, the larger first: by that the guest tells them apart. The floor's is the third.
enum class Kind { kSpins, kSleeps };
inline constexpr std::size_t kServices = 2;
inline constexpr unsigned kRamMib = 256;  // of the guest

struct Service {
    std::string address;           // for its server
    std::uint64_t heap_bytes = 0;  // the server's option
    std::vector<std::string> qemu_args;
    std::uint64_t file_bytes = 0;  // of memory that lies in a file; 0: there is none
};

class Services {
  public:
    /// Makes the folders, and the guest's memory in them. Throws std::runtime_error.
    explicit Services(const Combination& combination);

    [[nodiscard]] const Service& of(Kind kind) const { return services_[static_cast<std::size_t>(kind)]; }
    /// QEMU's arguments for both, and for a further device with a file of `floor_bytes`.
    [[nodiscard]] std::vector<std::string> qemu_args(std::size_t floor_bytes) const;

  private:
    ScratchFolder folder_;
    std::array<Service, kServices> services_;
};

}  // namespace vmrpc::bench
