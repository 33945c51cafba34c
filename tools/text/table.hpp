// Text in columns.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace text {

/// One table of several parts, each below a head of its own; the first column is aligned left, the others right.
class Table {
  public:
    using Cells = std::vector<std::string>;

    void head(Cells cells);
    void row(Cells cells);
    [[nodiscard]] std::string text() const;

  private:
    struct Line {
        Cells cells;
        bool is_head = false;
    };
    std::vector<Line> lines_;
};

/// 1234567 as "1,234,567".
std::string grouped(std::uint64_t number);
/// Three digits that matter: "0.82", "12.3", "4,567".
std::string measured(double number);

}  // namespace text
