// The paper's three kinds of data, built in the RPC heap and summed by the server where they lie.
#pragma once

#include "progress.hpp"
#include "report.hpp"

#include <vmrpc/vmrpc.hpp>

#include <vector>

namespace demo {

/// Throws Failure.
std::vector<KindReport> measure_kinds(const vmrpc::Client& client, Progress& progress);

}  // namespace demo
