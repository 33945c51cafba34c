// What the programs share that the ivshmem tests run in a guest.
#pragma once

#include "guest_checks.hpp"
#include "ivshmem_functions.hpp"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace ivshmem_test {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

using guest_checks::need;
using guest_checks::say;

inline void expect_error(const vmrpc::Result<vmrpc::Client>& result, int status, const char* text, int line) {
    if (!result && result.error().status == status && result.error().message().find(text) != std::string::npos) return;
    std::printf("line %d: wanted %d \"%s\", got %d: %s\n", line, status, text, result ? 0 : result.error().status,
                result ? "connected" : result.error().message().c_str());
    std::fflush(stdout);
    std::_Exit(1);
}

inline double ms_since(Clock::time_point start) {
    return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

inline std::string address = "ivshmem:";

inline vmrpc::Client join(vmrpc::ConnectOptions options = {}) {
    options.timeout = std::chrono::seconds(30);  // an emulated guest on a busy machine is slow
    return need(vmrpc::Client::connect(address, options), __LINE__);
}

/// Each runs one of its subject's tests, by the test's name. 99: there is none of that name.
int bad_input(const std::string& what);   // what cannot work
int deaths(const std::string& what);      // processes and servers that end
int isolation(const std::string& what);   // several VMs, and several processes of one
int own_memory(const std::string& what);  // memory=ram

}  // namespace ivshmem_test
