// What a guest prints: progress, results, and now and then a word of its kernel.
#pragma once

#include "progress.hpp"

#include <optional>
#include <string>
#include <string_view>

namespace demo {

/// Shows it, line by line, as it arrives. One thread at a time.
class GuestConsole {
  public:
    void show_step(const std::string& text) { progress_->step(text); }
    void take(std::string_view line);
    /// No more progress: what is printed now stays.
    void finish() { progress_.reset(); }

  private:
    std::optional<Progress> progress_{std::in_place};
};

}  // namespace demo
