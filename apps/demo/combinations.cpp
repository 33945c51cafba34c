#include "combinations.hpp"

#include "connecting.hpp"
#include "failure.hpp"
#include "kinds.hpp"
#include "latency.hpp"

#include <algorithm>
#include <filesystem>
#include <string_view>
#include <system_error>

namespace demo {
namespace {

/// What follows `key`, up to the next option.
std::string option_of(std::string_view address, std::string_view key) {
    const std::size_t at = address.find(key);
    if (at == std::string_view::npos) return "";
    const std::string_view rest = address.substr(at + key.size());
    return std::string(rest.substr(0, rest.find('&')));
}

/// Through VFIO alone a guest's process is interrupted. The driver's folder has a link to each device that it drives.
bool vfio_has_a_device() {
    namespace fs = std::filesystem;
    std::error_code none;
    const fs::directory_iterator entries("/sys/bus/pci/drivers/vfio-pci", none);
    return std::any_of(begin(entries), end(entries), [](const fs::directory_entry& entry) {
        return entry.path().filename().string().find(':') != std::string::npos;
    });
}

CombinationReport measure_combination(const std::string& address) {
    CombinationReport report;
    try {
        const Connection connection = connect_to(address);
        report = describe_combination(address);
        report.connect_ms = connection.connect_ms;
        report.call = measure_null_call(connection.client);
        const KindsCheck checked = check_kinds(connection.client);
        report.calls = checked.calls;
        report.different = checked.different;
        report.implicit_copies = connection.client.stats().implicit_copies;
    } catch (const Failure& failure) {
        report = describe_combination(address);
        report.failure = failure.what();
    }
    return report;
}

}  // namespace

CombinationReport describe_combination(const std::string& address) {
    CombinationReport report;
    report.address = address;
    report.memory = option_of(address, "memory=");
    report.ring = option_of(address, "ring=");
    report.interrupted = report.ring == "doorbell" && vfio_has_a_device();
    return report;
}

std::vector<CombinationReport> measure_combinations(const std::vector<std::string>& addresses, Progress& progress) {
    std::vector<CombinationReport> reports;
    reports.reserve(addresses.size());
    for (const std::string& address : addresses) {
        progress.step(fmt::format("the same through {}", address));
        reports.push_back(measure_combination(address));
    }
    return reports;
}

}  // namespace demo
