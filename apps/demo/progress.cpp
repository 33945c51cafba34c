#include "progress.hpp"

#include <unistd.h>

#include <cstdio>

namespace demo {
namespace {

constexpr const char* kClearLine = "\r\033[K";
// What is longer than the terminal is wide is cut there: of a second line kClearLine would know nothing.
constexpr const char* kCutLines = "\033[?7l";
constexpr const char* kWrapLines = "\033[?7h";

}  // namespace

Progress::Progress(For reader) : reader_(reader), terminal_(reader == For::kPeople && ::isatty(STDERR_FILENO) == 1) {}

Progress::~Progress() {
    if (terminal_) std::fputs(kClearLine, stderr);
}

void Progress::step(const std::string& text) {
    if (terminal_)
        detail(text);
    else
        std::fputs((std::string(reader_ == For::kHost ? kStepMark : "") + text + "\n").c_str(), stderr);
}

void Progress::detail(const std::string& text) const {
    if (terminal_) std::fputs((std::string(kClearLine) + kCutLines + text + kWrapLines).c_str(), stderr);
    if (reader_ == For::kHost) std::fputs((std::string(kDetailMark) + text + "\n").c_str(), stderr);
}

}  // namespace demo
