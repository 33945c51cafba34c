// What a figure was measured on.
#pragma once

#include "support/pin.hpp"

#include <nlohmann/json.hpp>

namespace vmrpc::bench {

/// Machine, kernel, compiler, commit, date, load, and the CPUs of both sides.
nlohmann::ordered_json machine_facts(const CpuPair& cpus);

/// Load average of the last minute.
double load_average();

}  // namespace vmrpc::bench
