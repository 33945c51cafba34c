// The command line of vmrpc-vm.
#pragma once

#include "guest.hpp"

#include <optional>

namespace vmrpc::vm {

struct ProgramOptions {
    GuestOptions guest;
    bool quiet = false;  // only the guest's output
};

// Nothing if there is no guest to start: help was asked for, or what is wrong was printed. `exit_code` is then set.
std::optional<ProgramOptions> parse_command_line(int argc, char** argv, int& exit_code);

}  // namespace vmrpc::vm
