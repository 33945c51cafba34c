#include "guest_console.hpp"

#include <algorithm>
#include <cctype>
#include <cstdio>

namespace demo {
namespace {

/// "[    1.234567] " is how the kernel begins its lines.
bool is_of_the_kernel(std::string_view line) {
    const std::size_t end = line.find(']');
    if (!line.starts_with('[') || end == std::string_view::npos) return false;
    return std::all_of(line.begin() + 1, line.begin() + static_cast<std::ptrdiff_t>(end),
                       [](unsigned char c) { return std::isdigit(c) != 0 || c == ' ' || c == '.'; });
}

}  // namespace

void GuestConsole::take(std::string_view line) {
    if (is_of_the_kernel(line)) return;
    if (progress_ && line.starts_with(kStepMark)) return progress_->step(std::string(line.substr(kStepMark.size())));
    if (progress_ && line.starts_with(kDetailMark))
        return progress_->detail(std::string(line.substr(kDetailMark.size())));
    finish();
    std::FILE* const out = line.starts_with("vmrpc-demo: ") ? stderr : stdout;  // as the client would have it
    std::fprintf(out, "%.*s\n", static_cast<int>(line.size()), line.data());
    std::fflush(out);
}

}  // namespace demo
