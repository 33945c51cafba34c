// The machine that `vmrpc doctor` looks at: its /sys, /proc, /dev and /lib/modules, below one root that tests set.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace tool {

/// Kernel modules in the three states that matter.
enum class ModuleState { kLoaded, kAvailable, kMissing };

class Machine {
  public:
    /// The machine itself; tests name another root by VMRPC_ROOT_FOR_TESTS.
    static Machine here();
    explicit Machine(std::string root) : root_(std::move(root)) {}

    /// Where that is: below the root.
    [[nodiscard]] std::string place(const std::string& path) const { return root_ + path; }
    [[nodiscard]] bool exists(const std::string& path) const;
    /// Whether this user may read and write it.
    [[nodiscard]] bool may_use(const std::string& path) const;
    /// A small file's text; nothing if it cannot be read.
    [[nodiscard]] std::optional<std::string> text(const std::string& path) const;
    /// Its first line; empty if it cannot be read.
    [[nodiscard]] std::string line(const std::string& path) const;
    /// A number that its first line begins with.
    [[nodiscard]] std::optional<unsigned long long> number(const std::string& path) const;
    /// The names in a folder, sorted; none if it cannot be read.
    [[nodiscard]] std::vector<std::string> list(const std::string& folder) const;
    /// The last part of what a link leads to; empty if it is none.
    [[nodiscard]] std::string link_name(const std::string& path) const;
    /// The text behind `key` and a colon, in a file of lines such as /proc/cpuinfo; of the first such line.
    [[nodiscard]] std::string value(const std::string& path, const std::string& key) const;

    /// PCI addresses of the devices with this vendor and device number, as sysfs writes them.
    [[nodiscard]] std::vector<std::string> pci_devices(const std::string& vendor, const std::string& device) const;
    [[nodiscard]] ModuleState module_state(const std::string& name) const;
    /// Whether the processor has one of these flags.
    [[nodiscard]] bool has_cpu_flag(const std::vector<std::string>& flags) const;

  private:
    std::string root_;
};

}  // namespace tool
