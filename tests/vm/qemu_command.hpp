// The QEMU command line for a guest.
#pragma once

#include "guest.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace vmrpc::vm {

// Descriptors that QEMU is started with besides the standard three.
inline constexpr int kInitramfsFd = 3;
inline constexpr int kReportFd = 4;
inline constexpr int kControlFd = 5;

struct AcceleratorChoice {
    bool kvm = false;
    std::string reason;  // one line for people
};

// KVM if it is wanted and usable, emulation otherwise.
AcceleratorChoice choose_accelerator(Accelerator wanted);

// The program's full path, looked for in PATH as a shell does; empty if there is none.
std::string find_program(const std::string& name);

std::vector<std::string> qemu_command(const std::string& program, const std::filesystem::path& kernel,
                                      const GuestOptions& options, const AcceleratorChoice& accelerator);

}  // namespace vmrpc::vm
