// What tests' programs in a guest check and say with: they exit with 1 when something is not so.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <string>
#include <type_traits>
#include <utility>

namespace guest_checks {

#define EXPECT(condition)                                               \
    do {                                                                \
        if (!(condition)) {                                             \
            std::printf("line %d: not so: %s\n", __LINE__, #condition); \
            std::fflush(stdout);                                        \
            std::_Exit(1);                                              \
        }                                                               \
    } while (false)

/// A result's value, be it the library's (vmrpc::Result) or one of its inside (base::Result).
template <class Result>
auto need(Result result, int line) {
    if (!result) {
        const auto& error = result.error();
        std::string text;
        if constexpr (requires { error.message(); })
            text = error.message();
        else
            text = error.text;
        std::printf("line %d: %d: %s\n", line, error.status, text.c_str());
        std::fflush(stdout);
        std::_Exit(1);
    }
    if constexpr (!std::is_void_v<typename Result::value_type>) return std::move(*result);
}
#define NEED(expression) guest_checks::need(expression, __LINE__)

inline void say(const std::string& text) {
    std::printf("%s\n", text.c_str());
    std::fflush(stdout);
}

}  // namespace guest_checks
