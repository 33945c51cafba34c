#include "progress.hpp"

#include <unistd.h>

#include <cstdio>

namespace demo {
namespace {

constexpr const char* kClearLine = "\r\033[K";

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
    if (terminal_) std::fputs((kClearLine + text).c_str(), stderr);
    if (reader_ == For::kHost) std::fputs((std::string(kDetailMark) + text + "\n").c_str(), stderr);
}

}  // namespace demo
