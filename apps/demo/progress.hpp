// What the demo is doing, on standard error.
#pragma once

#include <string>
#include <string_view>

namespace demo {

/// How a client in a guest marks its progress, so that the host can tell it from the results on the same console.
inline constexpr std::string_view kStepMark = "vmrpc-demo step: ";
inline constexpr std::string_view kDetailMark = "vmrpc-demo detail: ";

/// On a terminal one line that is written over, and removed in the end; elsewhere a line for each step.
class Progress {
  public:
    enum class For { kPeople, kHost };

    explicit Progress(For reader = For::kPeople);
    Progress(const Progress&) = delete;
    Progress& operator=(const Progress&) = delete;
    ~Progress();
    void step(const std::string& text);
    /// News of the same step: shown on a terminal only.
    void detail(const std::string& text) const;

  private:
    For reader_;
    bool terminal_;
};

}  // namespace demo
