// What the doorbell's tests share: a folder in place of sysfs, and an address that no device has.
#pragma once

#include "transport/vm/doorbell/vfio_binding.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

namespace vmrpc::doorbell_test {

/// No PCI device's address here, and no other test's.
inline std::string own_address() {
    return fmt::format("{:04x}:ff:1f.7", static_cast<unsigned>(::getpid()) & 0xffff);
}

class FakePlaces {
  public:
    FakePlaces() : folder_("/tmp/vmrpc-test-XXXXXX") {
        EXPECT_NE(::mkdtemp(folder_.data()), nullptr);
        ::chmod(folder_.c_str(), 0755);
    }
    FakePlaces(const FakePlaces&) = delete;
    FakePlaces& operator=(const FakePlaces&) = delete;
    ~FakePlaces() {
        std::error_code ignored;
        std::filesystem::remove_all(folder_, ignored);
    }

    [[nodiscard]] transport::vm::VfioPlaces places() const { return {folder_ + "/sys", folder_ + "/vfio"}; }
    [[nodiscard]] std::string path(const std::string& name) const { return folder_ + "/" + name; }
    [[nodiscard]] std::string device(const std::string& name) const {
        return "sys/bus/pci/devices/" + own_address() + "/" + name;
    }
    void write(const std::string& name, const std::string& text) const {
        std::filesystem::create_directories(std::filesystem::path(path(name)).parent_path());
        std::ofstream(path(name)) << text;
    }
    [[nodiscard]] std::string read(const std::string& name) const {
        std::ifstream in(path(name));
        return {std::istreambuf_iterator<char>(in), {}};
    }
    void link(const std::string& name, const std::string& target) const {
        std::filesystem::create_directories(std::filesystem::path(path(name)).parent_path());
        std::filesystem::create_symlink(target, path(name));
    }

    void add_device(const std::string& kind = "0x1110") const {
        write(device("vendor"), "0x1af4\n");
        write(device("device"), kind + "\n");
        write(device("driver_override"), "");
    }
    void add_group() const { link(device("iommu_group"), "../../../kernel/iommu_groups/7"); }
    void add_modules() const {
        write("sys/bus/pci/drivers/vfio-pci/new_id", "");
        write("sys/bus/pci/drivers_probe", "");
        write("sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts", "N\n");
    }

  private:
    std::string folder_;
};

}  // namespace vmrpc::doorbell_test
