// The tables of docs/LAYOUT.md.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace vmrpc::golden {

/// A row of a table "| offset | bytes | field | writer | meaning |" or "| offset | bytes | area | meaning |".
struct Row {
    std::uint64_t offset = 0;
    std::uint64_t bytes = 0;
    std::string name;  // without backticks
    std::string writer;
};

struct Page {
    /// By the struct that the heading above the table names in backticks.
    std::map<std::string, std::vector<Row>> structs;
    /// By the text of the heading above the table, which names no struct.
    std::map<std::string, std::vector<Row>> areas;
    std::map<std::string, std::uint64_t> constants;
    /// Every word on the page that looks like a constant: kName, with what qualifies it.
    std::vector<std::string> constants_named;
    /// What is not as regular as it has to be.
    std::vector<std::string> complaints;
};

Page read_page(const std::string& path);

}  // namespace vmrpc::golden
