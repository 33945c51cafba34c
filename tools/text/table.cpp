#include "text/table.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace text {
namespace {

std::size_t width_of(const std::string& cell) {
    // Bytes that begin a character of UTF-8.
    return static_cast<std::size_t>(std::count_if(cell.begin(), cell.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

}  // namespace

void Table::head(Cells cells) {
    lines_.push_back({std::move(cells), true});
}
void Table::row(Cells cells) {
    lines_.push_back({std::move(cells), false});
}

std::string Table::text() const {
    std::vector<std::size_t> widths;
    for (const Line& line : lines_) {
        widths.resize(std::max(widths.size(), line.cells.size()));
        for (std::size_t i = 0; i < line.cells.size(); ++i) widths[i] = std::max(widths[i], width_of(line.cells[i]));
    }
    std::size_t whole = 0;
    for (const std::size_t width : widths) whole += width + 2;
    std::string text;
    for (const Line& line : lines_) {
        if (line.is_head && !text.empty()) text += '\n';
        for (std::size_t i = 0; i < line.cells.size(); ++i) {
            const std::string padding(widths[i] - width_of(line.cells[i]), ' ');
            text += i == 0 ? line.cells[i] + padding : "  " + padding + line.cells[i];
        }
        text += '\n';
        if (line.is_head) text += std::string(whole - 2, '-') + '\n';
    }
    return text;
}

std::string grouped(std::uint64_t number) {
    std::string digits = fmt::format("{}", number);
    for (std::size_t at = digits.size(); at > 3;) digits.insert(at -= 3, 1, ',');
    return digits;
}

std::string measured(double number) {
    if (number >= 99.95) return grouped(static_cast<std::uint64_t>(std::llround(number)));
    return fmt::format("{:.{}f}", number, number >= 9.995 ? 1 : 2);
}

}  // namespace text
