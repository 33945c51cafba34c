#include "layout_page.hpp"

#include <algorithm>
#include <exception>
#include <fstream>
#include <regex>
#include <sstream>

namespace vmrpc::golden {
namespace {

using Cells = std::vector<std::string>;

std::string trimmed(const std::string& text) {
    const auto begin = text.find_first_not_of(' ');
    if (begin == std::string::npos) return {};
    return text.substr(begin, text.find_last_not_of(' ') - begin + 1);
}

Cells cells_of(const std::string& line) {
    Cells cells;
    std::istringstream stream(line.substr(1));
    for (std::string cell; std::getline(stream, cell, '|');) cells.push_back(trimmed(cell));
    return cells;
}

std::string without_backticks(std::string text) {
    std::erase(text, '`');
    return text;
}

enum class Table { kNone, kStruct, kAreas, kConstants, kOther };

Table table_of(const Cells& header) {
    if (header == Cells{"offset", "bytes", "field", "writer", "meaning"}) return Table::kStruct;
    if (header == Cells{"offset", "bytes", "area", "meaning"}) return Table::kAreas;
    if (header == Cells{"constant", "value", "meaning"}) return Table::kConstants;
    return Table::kOther;
}

class Reader {
  public:
    void take(const std::string& line) {
        note_constants(line);
        if (line.starts_with('#')) {
            heading_ = trimmed(line.substr(line.find_first_not_of('#')));
        } else if (!line.starts_with('|')) {
            table_ = Table::kNone;
        } else if (table_ == Table::kNone) {
            table_ = table_of(cells_of(line));
            column_count_ = cells_of(line).size();
        } else if (!line.starts_with("| ---")) {
            take_row(line);
        }
    }
    Page page;

  private:
    void note_constants(const std::string& line) {
        static const std::regex kConstant(R"((\w+::)?\bk[A-Z]\w*)");
        for (std::sregex_iterator match(line.begin(), line.end(), kConstant), end; match != end; ++match)
            page.constants_named.push_back(match->str());
    }

    void take_row(const std::string& line) {
        const Cells cells = cells_of(line);
        const bool is_whole = cells.size() == column_count_ &&
                              std::none_of(cells.begin(), cells.end(), [](const auto& cell) { return cell.empty(); });
        try {
            if (!is_whole)
                complain(line);
            else if (table_ == Table::kConstants)
                add_constant(cells);
            else if (table_ != Table::kOther)
                add_row(cells);
        } catch (const std::exception&) {  // std::stoull
            complain(line);
        }
    }
    void add_constant(const Cells& cells) {
        if (!page.constants.emplace(without_backticks(cells[0]), std::stoull(cells[1], nullptr, 0)).second)
            complain("twice: " + cells[0]);
    }
    void add_row(const Cells& cells) {
        Row row{std::stoull(cells[0]), std::stoull(cells[1]), without_backticks(cells[2]), {}};
        if (table_ == Table::kAreas) {
            page.areas[heading_].push_back(row);
            return;
        }
        row.writer = cells[3];
        static const std::regex kStruct("`(\\w+)`");
        std::smatch name;
        if (std::regex_search(heading_, name, kStruct))
            page.structs[name[1]].push_back(row);
        else
            complain("a table of fields under a heading without a struct: " + heading_);
    }
    void complain(const std::string& what) { page.complaints.push_back(what); }

    std::string heading_;
    Table table_ = Table::kNone;
    std::size_t column_count_ = 0;
};

}  // namespace

Page read_page(const std::string& path) {
    Reader reader;
    std::ifstream file(path);
    if (!file) reader.page.complaints.push_back("cannot read " + path);
    for (std::string line; std::getline(file, line);) reader.take(line);
    return std::move(reader.page);
}

}  // namespace vmrpc::golden
