// What the demo is doing, on standard error.
#pragma once

#include <string>

namespace demo {

/// On a terminal one line that is written over, and removed in the end; elsewhere a line for each step.
class Progress {
  public:
    Progress();
    Progress(const Progress&) = delete;
    Progress& operator=(const Progress&) = delete;
    ~Progress();
    void step(const std::string& text);
    /// News of the same step: shown on a terminal only.
    void detail(const std::string& text) const;

  private:
    bool terminal_;
};

}  // namespace demo
