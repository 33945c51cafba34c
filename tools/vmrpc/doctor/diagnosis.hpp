// Everything that `vmrpc doctor` finds.
#pragma once

#include "vmrpc/doctor/findings.hpp"
#include "vmrpc/doctor/machine.hpp"

#include <optional>
#include <string>

namespace tool {

enum class Side { kGuest, kHost };

struct Diagnosis {
    Side side = Side::kHost;
    std::string why;  // it is taken for that
    Findings findings;
};

/// Looks at the machine, from the side that `side` says or that it seems to be. `address`: "", or a service's or a
/// guest's. Throws Failure: no such address.
[[nodiscard]] Diagnosis diagnose(const Machine& machine, const std::string& address, std::optional<Side> side);

}  // namespace tool
