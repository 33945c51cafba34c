#include "line_log.hpp"

#include <algorithm>

namespace vmrpc::vm {

void LineLog::append(std::string_view bytes) {
    for (const char c : bytes) c == '\n' ? add_line() : unfinished_.push_back(c);
}

void LineLog::add_line() {
    while (unfinished_.ends_with('\r')) unfinished_.pop_back();  // the kernel ends its lines with "\r\n"
    if (listener_) listener_(unfinished_);
    const std::lock_guard lock{mutex_};
    lines_.push_back(std::move(unfinished_));
    unfinished_.clear();
    changed_.notify_all();
}

void LineLog::finish() {
    if (!unfinished_.empty()) add_line();
    const std::lock_guard lock{mutex_};
    finished_ = true;
    changed_.notify_all();
}

std::string LineLog::text() const {
    const std::lock_guard lock{mutex_};
    std::string result;
    for (const auto& line : lines_) result.append(line).push_back('\n');
    return result;
}

std::optional<std::string> LineLog::find_last(std::string_view text) const {
    const std::lock_guard lock{mutex_};
    const auto found = std::find_if(lines_.rbegin(), lines_.rend(),
                                    [&](const std::string& line) { return line.find(text) != std::string::npos; });
    return found == lines_.rend() ? std::nullopt : std::optional{*found};
}

std::optional<std::string> LineLog::next_match(const std::regex& pattern) {
    while (searched_ < lines_.size())
        if (const auto& line = lines_[searched_++]; std::regex_search(line, pattern)) return line;
    return std::nullopt;
}

std::optional<std::string> LineLog::wait_for(const std::regex& pattern, std::chrono::milliseconds timeout) {
    const auto deadline = std::chrono::steady_clock::now() + timeout;
    std::unique_lock lock{mutex_};
    for (;;) {
        if (auto line = next_match(pattern)) return line;
        if (finished_ || changed_.wait_until(lock, deadline) == std::cv_status::timeout) return next_match(pattern);
    }
}

}  // namespace vmrpc::vm
