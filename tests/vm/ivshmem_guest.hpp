// What the programs share that the ivshmem tests run in a guest.
#pragma once

#include "ivshmem_functions.hpp"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace ivshmem_test {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

#define EXPECT(condition)                                               \
    do {                                                                \
        if (!(condition)) {                                             \
            std::printf("line %d: not so: %s\n", __LINE__, #condition); \
            std::fflush(stdout);                                        \
            std::_Exit(1);                                              \
        }                                                               \
    } while (false)

template <class T>
T need(vmrpc::Result<T> result, int line) {
    if (!result) {
        std::printf("line %d: %d: %s\n", line, result.error().status, result.error().message().c_str());
        std::fflush(stdout);
        std::_Exit(1);
    }
    if constexpr (!std::is_void_v<T>) return std::move(*result);
}
#define NEED(expression) need(expression, __LINE__)

inline void expect_error(const vmrpc::Result<vmrpc::Client>& result, int status, const char* text, int line) {
    if (!result && result.error().status == status && result.error().message().find(text) != std::string::npos) return;
    std::printf("line %d: wanted %d \"%s\", got %d: %s\n", line, status, text, result ? 0 : result.error().status,
                result ? "connected" : result.error().message().c_str());
    std::fflush(stdout);
    std::_Exit(1);
}

inline void say(const std::string& text) {
    std::printf("%s\n", text.c_str());
    std::fflush(stdout);
}

inline double ms_since(Clock::time_point start) {
    return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

inline std::string address = "ivshmem:";

inline vmrpc::Client join(vmrpc::ConnectOptions options = {}) {
    options.timeout = std::chrono::seconds(30);  // an emulated guest on a busy machine is slow
    return need(vmrpc::Client::connect(address, options), __LINE__);
}

/// One of the tests of what cannot work, by its name. 99: there is none of that name.
int bad_input(const std::string& what);

}  // namespace ivshmem_test
