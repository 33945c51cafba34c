// The rows of the guest benchmark: known to host and guest alike.
#pragma once

#include "support/measure.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace vmrpc::bench {

namespace row {
inline constexpr auto kSpin = "call";
inline constexpr auto kTcp = "tcp";
inline constexpr auto kConnect = "connect";
}  // namespace row

/// The kinds of data, each in every length.
inline constexpr auto kBytes = "bytes";
inline constexpr auto kFixed = "fixed";
inline constexpr auto kVariable = "variable";
inline constexpr std::array<std::size_t, 3> kLengths{100, 10'000, 100'000};

/// The process of the host that a workload is answered by. All others are stopped meanwhile: there is one CPU for them.
enum class Answerer { kFloorPause, kFloorNoPause, kServer, kTcp };
inline constexpr std::size_t kAnswerers = 4;

/// Where the guest finds what it calls.
struct Places {
    std::string address;           // of the server
    std::byte* floor = nullptr;    // memory of the other device
    std::string tcp = "10.0.2.2";  // the host, as QEMU's network has it
    std::uint16_t tcp_port = 0;
};

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

/// The name of a row of data: "bytes 100".
std::string data_row(const char* kind, std::size_t length);

}  // namespace vmrpc::bench
