// The paper's three kinds of data, built in the RPC heap and summed by the server where they lie.
#pragma once

#include "progress.hpp"
#include "report.hpp"

#include <vmrpc/vmrpc.hpp>

#include <cstdint>
#include <vector>

namespace demo {

struct KindsCheck {
    std::uint64_t calls = 0;
    std::uint64_t different = 0;
};

/// Each kind at each length, measured. Throws Failure.
std::vector<KindReport> measure_kinds(const vmrpc::Client& client, Progress& progress);

/// Each kind at each length, called once with data that is built for it. Throws Failure.
KindsCheck check_kinds(const vmrpc::Client& client);

}  // namespace demo
