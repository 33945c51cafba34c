// For the tests of `vmrpc doctor`: a folder in place of a machine's root.
#pragma once

#include "layout/segment.hpp"
#include "vmrpc/doctor/checks.hpp"
#include "vmrpc/doctor/diagnosis.hpp"

#include <gmock/gmock.h>

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>

namespace tool {

namespace fs = std::filesystem;
namespace layout = vmrpc::layout;
using testing::HasSubstr;

inline constexpr const char* kPmem = "0000:00:02.0";
inline constexpr const char* kBell = "0000:00:03.0";

/// Root may everything: what a user may not is shown as another user.
class AsNobody {
  public:
    AsNobody() {
        if (::geteuid() == 0) changed_ = ::setegid(65534) == 0 && ::seteuid(65534) == 0;
    }
    AsNobody(const AsNobody&) = delete;
    AsNobody& operator=(const AsNobody&) = delete;
    ~AsNobody() {
        if (changed_ && (::seteuid(0) != 0 || ::setegid(0) != 0)) std::abort();
    }

  private:
    bool changed_ = false;
};

class Doctor : public testing::Test {
  protected:
    Doctor() : root_("/tmp/vmrpc-test-XXXXXX") {
        EXPECT_NE(::mkdtemp(root_.data()), nullptr);
        ::chmod(root_.c_str(), 0755);
        write("/proc/sys/kernel/osrelease", "6.1.0-test\n");
        write("/proc/cpuinfo", "processor\t: 0\nvendor_id\t: GenuineIntel\nflags\t\t: fpu vmx hypervisor\n");
    }
    ~Doctor() override { fs::remove_all(root_); }

    std::string at(const std::string& path) const { return root_ + path; }
    void write(const std::string& path, const std::string& text = "") const {
        fs::create_directories(fs::path(at(path)).parent_path());
        std::ofstream(at(path)) << text;
    }
    void link(const std::string& path, const std::string& target) const {
        fs::create_directories(fs::path(at(path)).parent_path());
        fs::create_symlink(target, at(path));
    }
    std::string pci(const std::string& address, const std::string& file) const {
        return "/sys/bus/pci/devices/" + address + "/" + file;
    }
    void add_pci(const std::string& address, const std::string& device) const {
        write(pci(address, "vendor"), "0x1af4\n");
        write(pci(address, "device"), device + "\n");
    }
    /// A DAX device whose memory is a file that begins with such a header.
    void add_dax(const layout::SegmentHeader& header, const std::string& name = "dax0.0") const {
        add_pci(kPmem, "0x105b");
        write("/sys/devices/ndbus0/dax0.1/uuid", "11111111-2222\n");
        write("/sys/devices/ndbus0/dax0.1/" + name + "/size", "67108864\n");
        write("/sys/devices/ndbus0/dax0.1/" + name + "/align", "4096\n");
        link("/sys/bus/dax/devices/" + name, at("/sys/devices/ndbus0/dax0.1/" + name));
        std::string bytes(8192, '\0');
        std::memcpy(bytes.data(), &header, sizeof header);
        write("/dev/" + name, bytes);
    }
    static layout::SegmentHeader ours() {
        layout::SegmentHeader header{};
        header.magic = layout::kSegmentMagic;
        header.layout_major = layout::kLayoutMajor;
        header.directory_entries = 4;
        return header;
    }
    /// An ivshmem device without a driver.
    void add_bell() const {
        add_pci(kBell, "0x1110");
        write(pci(kBell, "enable"), "1\n");
        write(pci(kBell, "resource0"));
        write(pci(kBell, "resource2"));
    }
    void add_group(const std::string& driver) const {
        link(pci(kBell, "iommu_group"), "../../../../kernel/iommu_groups/7");
        fs::create_directories(at("/sys/kernel/iommu_groups/7"));
        if (!driver.empty()) link(pci(kBell, "driver"), "../../../../bus/pci/drivers/" + driver);
    }

    Findings guest(const std::string& address = "") const {
        const Diagnosis diagnosis = diagnose(Machine(root_), address, Side::kGuest);
        return diagnosis.findings;
    }
    Findings host(const std::string& address = "") const {
        return diagnose(Machine(root_), address, Side::kHost).findings;
    }
    /// That there is such a line; where it is not ok, with a remedy that has these words.
    static void expect(const Findings& findings, Level level, const std::string& topic, const std::string& found,
                       const std::string& remedy = "") {
        for (const Finding& each : findings.all()) {
            if (each.level != level || each.topic != topic || each.found.find(found) == std::string::npos) continue;
            EXPECT_EQ(each.remedy.empty(), level == Level::kOk) << each.found;
            EXPECT_THAT(each.remedy, HasSubstr(remedy));
            return;
        }
        ADD_FAILURE() << "no line " << topic << ": " << found << " in\n" << findings.text();
    }

    std::string root_;
};

}  // namespace tool
