// What is measured in each guest: known to host and guest alike.
#pragma once

#include "support/measure.hpp"
#include "vm/idle.hpp"
#include "vm/places.hpp"

#include <array>
#include <cstddef>
#include <functional>
#include <string>
#include <vector>

namespace vmrpc::bench {

namespace row {
inline constexpr auto kSpin = "call";
inline constexpr auto kRing = "call by ring";
inline constexpr auto kTcp = "tcp";
inline constexpr auto kConnect = "connect";
}  // namespace row

/// The kinds of data, each in every length.
inline constexpr auto kBytes = "bytes";
inline constexpr auto kFixed = "fixed";
inline constexpr auto kVariable = "variable";
inline constexpr std::array<std::size_t, 2> kLengths{1'000, 100'000};

/// The process of the host that a workload is answered by. All others are stopped meanwhile: there is one CPU for them.
enum class Answerer { kFloorPause, kFloorNoPause, kSpins, kSleeps, kTcp };
inline constexpr std::size_t kAnswerers = 5;

/// Measured in every round.
struct GuestWorkload {
    std::string name;
    std::string what;
    Answerer answerer;
    Effort effort;
    /// In the guest.
    std::function<Figures(const Effort&, const Places&)> call;
    double bytes = 0;  // of data in each call: what a string's pointer takes is not data
};

/// All of them. `scale`: of the counts, 1 for a full run.
std::vector<GuestWorkload> guest_workloads(double scale);

/// Measured once in each guest; the service that sleeps answers.
struct GuestWatch {
    std::string key;
    std::function<IdleCpu(const Places&)> watch;
};
std::vector<GuestWatch> guest_watches(double scale);

}  // namespace vmrpc::bench
