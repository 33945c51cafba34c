// Lines that arrive in pieces, for one thread that writes and others that wait for one of them.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <regex>
#include <string>
#include <string_view>
#include <vector>

namespace vmrpc::vm {

class LineLog {
  public:
    using Listener = std::function<void(std::string_view line)>;

    // The listener gets each line without its end, on the writing thread, with no lock held.
    explicit LineLog(Listener listener = {}) : listener_(std::move(listener)) {}

    // For the writing thread only.
    void append(std::string_view bytes);
    void finish();  // an unfinished last line counts as one; waiters give up

    std::string text() const;
    // As Guest::wait_for_line().
    std::optional<std::string> wait_for(const std::regex& pattern, std::chrono::milliseconds timeout);
    // The last line that contains `text`, or nothing.
    std::optional<std::string> find_last(std::string_view text) const;

  private:
    void add_line();
    std::optional<std::string> next_match(const std::regex& pattern);

    Listener listener_;
    std::string unfinished_;
    mutable std::mutex mutex_;
    std::condition_variable changed_;
    std::vector<std::string> lines_;
    std::size_t searched_ = 0;  // lines that wait_for has passed
    bool finished_ = false;
};

}  // namespace vmrpc::vm
