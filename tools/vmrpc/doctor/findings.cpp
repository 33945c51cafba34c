#include "vmrpc/doctor/findings.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace tool {
namespace {

const char* word_of(Level level) {
    if (level == Level::kOk) return "ok";
    return level == Level::kWarning ? "warning" : "error";
}

}  // namespace

void Findings::ok(std::string topic, std::string found) {
    all_.push_back({Level::kOk, std::move(topic), std::move(found), {}});
}

void Findings::warning(std::string topic, std::string found, std::string remedy) {
    all_.push_back({Level::kWarning, std::move(topic), std::move(found), std::move(remedy)});
}

void Findings::error(std::string topic, std::string found, std::string remedy) {
    all_.push_back({Level::kError, std::move(topic), std::move(found), std::move(remedy)});
}

bool Findings::has_error() const {
    return std::any_of(all_.begin(), all_.end(), [](const Finding& each) { return each.level == Level::kError; });
}

std::string Findings::text() const {
    std::size_t width = 0;
    for (const Finding& each : all_) width = std::max(width, each.topic.size());
    std::string text;
    for (const Finding& each : all_) {
        text += fmt::format("{:<9}{:<{}}  {}\n", word_of(each.level), each.topic, width, each.found);
        if (!each.remedy.empty()) text += fmt::format("{:{}}  to mend it: {}\n", "", 9 + width, each.remedy);
    }
    return text;
}

Report Findings::json() const {
    Report list = Report::array();
    for (const Finding& each : all_)
        list.push_back(
            {{"level", word_of(each.level)}, {"topic", each.topic}, {"found", each.found}, {"remedy", each.remedy}});
    return list;
}

}  // namespace tool
