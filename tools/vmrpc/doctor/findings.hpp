// What `vmrpc doctor` has found.
#pragma once

#include "vmrpc/report.hpp"

#include <string>
#include <vector>

namespace tool {

enum class Level { kOk, kWarning, kError };

struct Finding {
    Level level = Level::kOk;
    std::string topic;   // a word or two
    std::string found;   // what is there
    std::string remedy;  // how to mend it; empty if it is ok
};

class Findings {
  public:
    void ok(std::string topic, std::string found);
    /// It works, but not as well as it could, or not for everything.
    void warning(std::string topic, std::string found, std::string remedy);
    /// It does not work.
    void error(std::string topic, std::string found, std::string remedy);
    void add(Finding finding) { all_.push_back(std::move(finding)); }

    [[nodiscard]] const std::vector<Finding>& all() const { return all_; }
    [[nodiscard]] bool has_error() const;
    /// For people: a line for each, and one below with the remedy.
    [[nodiscard]] std::string text() const;
    /// A list of objects with level, topic, found and remedy.
    [[nodiscard]] Report json() const;

  private:
    std::vector<Finding> all_;
};

}  // namespace tool
