// `vmrpc doctor`.
#pragma once

#include <CLI/CLI.hpp>

namespace tool {

/// Adds it to the program; it runs when it is parsed, and sets `exit_code` to 1 if it finds an error.
void add_doctor_command(CLI::App& app, int& exit_code);

}  // namespace tool
