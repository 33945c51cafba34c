// Where the results go besides the terminal.
#pragma once

#include <fstream>
#include <string>

namespace demo {

/// Opened before the work, so that a path that cannot be written is known at once. Throws Failure.
class JsonFile {
  public:
    /// An empty path: nothing is wanted, and nothing written.
    explicit JsonFile(std::string path);
    [[nodiscard]] bool is_wanted() const { return !path_.empty(); }
    void write(const std::string& text);

  private:
    std::string path_;
    std::ofstream file_;
};

}  // namespace demo
