#include "vmrpc/doctor/machine.hpp"

#include <fmt/format.h>

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <system_error>

namespace tool {
namespace {

namespace fs = std::filesystem;

std::string with(std::string text, char from, char to) {
    std::replace(text.begin(), text.end(), from, to);
    return text;
}

}  // namespace

Machine Machine::here() {
    // NOLINTNEXTLINE(concurrency-mt-unsafe): this program does not change its environment
    const char* named = ::secure_getenv("VMRPC_ROOT_FOR_TESTS");
    return Machine(named != nullptr ? named : "");
}

bool Machine::exists(const std::string& path) const {
    return ::access(place(path).c_str(), F_OK) == 0;
}

bool Machine::may_use(const std::string& path) const {
    return ::faccessat(AT_FDCWD, place(path).c_str(), R_OK | W_OK, AT_EACCESS) == 0;
}

std::optional<std::string> Machine::text(const std::string& path) const {
    std::ifstream in(place(path));
    if (!in) return std::nullopt;
    return std::string(std::istreambuf_iterator<char>(in), {});
}

std::string Machine::line(const std::string& path) const {
    const std::string whole = text(path).value_or("");
    return whole.substr(0, whole.find('\n'));
}

std::optional<unsigned long long> Machine::number(const std::string& path) const {
    const std::string digits = line(path);
    char* end = nullptr;
    const unsigned long long number = std::strtoull(digits.c_str(), &end, 10);
    if (end == digits.c_str()) return std::nullopt;
    return number;
}

std::vector<std::string> Machine::list(const std::string& folder) const {
    std::vector<std::string> names;
    std::error_code error;
    for (fs::directory_iterator each(place(folder), error), end; !error && each != end; each.increment(error))
        names.push_back(each->path().filename().string());
    std::sort(names.begin(), names.end());
    return names;
}

std::string Machine::link_name(const std::string& path) const {
    std::error_code error;
    return fs::read_symlink(place(path), error).filename().string();
}

std::string Machine::value(const std::string& path, const std::string& key) const {
    std::istringstream lines(text(path).value_or(""));
    for (std::string each; std::getline(lines, each);) {
        const std::size_t colon = each.find(':');
        if (colon == std::string::npos || each.compare(0, key.size(), key) != 0 ||
            each.find_first_not_of(" \t", key.size()) != colon)
            continue;
        const std::size_t begin = each.find_first_not_of(" \t", colon + 1);
        return begin == std::string::npos ? "" : each.substr(begin);
    }
    return "";
}

std::vector<std::string> Machine::pci_devices(const std::string& vendor, const std::string& device) const {
    const std::string folder = "/sys/bus/pci/devices";
    std::vector<std::string> found;
    for (const std::string& address : list(folder)) {
        const std::string device_folder = fmt::format("{}/{}", folder, address);
        if (line(device_folder + "/vendor") == vendor && line(device_folder + "/device") == device)
            found.push_back(address);
    }
    return found;
}

// Their names have hyphens or underscores as somebody liked; /sys has underscores only.
ModuleState Machine::module_state(const std::string& name) const {
    const std::string plain = with(name, '-', '_');
    if (exists("/sys/module/" + plain)) return ModuleState::kLoaded;
    const std::string folder = "/lib/modules/" + line("/proc/sys/kernel/osrelease");
    const auto lists = [&](const char* file) {
        return with(text(folder + file).value_or(""), '-', '_').find("/" + plain + ".ko") != std::string::npos;
    };
    if (lists("/modules.builtin")) return ModuleState::kLoaded;
    return lists("/modules.dep") ? ModuleState::kAvailable : ModuleState::kMissing;
}

bool Machine::has_cpu_flag(const std::vector<std::string>& flags) const {
    std::istringstream words(value("/proc/cpuinfo", "flags"));
    for (std::string word; words >> word;)
        if (std::find(flags.begin(), flags.end(), word) != flags.end()) return true;
    return false;
}

}  // namespace tool
