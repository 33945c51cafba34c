#include "vmrpc/watched.hpp"

#include <fmt/format.h>

#include <string_view>
#include <utility>

namespace tool {
namespace {

constexpr auto kReport = vmrpc::named<"vmrpc.report", vmrpc::Array<char>()>;

vmrpc::Client connected(const std::string& address, std::chrono::nanoseconds limit) {
    auto client = vmrpc::Client::connect(address, {.timeout = limit});
    if (!client) throw Failure(client.error().message());
    return *std::move(client);
}

}  // namespace

Watched::Watched(const std::string& address, std::chrono::nanoseconds limit)
    : client_(connected(address, limit)), limit_(limit) {}

Report Watched::report() const {
    auto text = client_.call_within<kReport>(limit_);
    if (!text) throw Failure(text.error().message());
    // Without exceptions: what is no JSON is told as the value that it becomes.
    Report report = Report::parse(text->begin(), text->end(), nullptr, false);
    if (!report.is_object() || !report.contains("functions"))
        throw Failure(fmt::format("the server's report of {} bytes is none that this version of vmrpc understands",
                                  text->size()));
    return report;
}

}  // namespace tool
