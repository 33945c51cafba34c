// Programs of the library's own that run beside the one that uses it: finding them, and starting them as nobody's
// child.
#pragma once

#include "base/result.hpp"

#include <span>
#include <string>
#include <vector>

namespace vmrpc::transport::vm {

/// A program that is installed with the library.
struct HelperProgram {
    const char* name;      // "vmrpc-sentinel"
    const char* variable;  // the environment variable that may hold its path
    const char* purpose;   // what it is for: "it tells …"
};

/// Where the program is: where the environment variable says, else in the folder of this process's program, in that of
/// the shared library, in the installed tree whose bin or lib one of these is, or where it was to be installed to when
/// the library was built. Errors: VMRPC_NOT_SUPPORTED, naming all of them.
base::Result<std::string> find_program(const HelperProgram& program);

/// The number of the first descriptor that a launched program is passed.
inline constexpr int kFirstPassedFd = 3;

/// Starts the program at `path`, with copies of `descriptors` from kFirstPassedFd on, none but these and the standard
/// ones, no signal blocked or ignored, and in a session of its own. Returns once it runs. It is nobody's child: the
/// program that uses the library never sees a SIGCHLD of it, nor a stranger in wait(). Any thread. Errors:
/// VMRPC_OUT_OF_RESOURCES, VMRPC_NO_SERVER (nothing at `path`), VMRPC_NOT_PERMITTED.
base::Status launch(const std::string& path, std::vector<std::string> arguments, std::span<const int> descriptors);

}  // namespace vmrpc::transport::vm
