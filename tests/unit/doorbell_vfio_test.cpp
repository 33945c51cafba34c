// Opening a device through VFIO, as far as it can be tried without one: a folder in place of sysfs.
#include "transport/vm/doorbell/broker_protocol.hpp"
#include "transport/vm/doorbell/vfio_device.hpp"
#include "unit/doorbell_places.hpp"

#include <sys/wait.h>

namespace vmrpc::doorbell_test {
namespace {

class DoorbellVfio : public testing::Test {
  protected:
    void expect_error(vmrpc_status status, const std::string& text, const std::string& address = own_address()) const {
        const auto device = transport::vm::open_vfio_device(address, fake_.places());
        ASSERT_FALSE(device);
        EXPECT_EQ(device.error().status, status) << device.error().text;
        EXPECT_NE(device.error().text.find(text), std::string::npos) << device.error().text;
        EXPECT_NE(device.error().text.find(address), std::string::npos) << device.error().text;
    }

    FakePlaces fake_;
};

TEST_F(DoorbellVfio, WhatIsNoAddress) {
    fake_.add_device();
    for (const std::string address : {"", "5", "0000:00:05", "0000:00:05.8", "0000:00:05.0 ", "0000:00:0A.0",
                                      "000000:05.0", "../../../../x", "0000:00:05-0"})
        expect_error(VMRPC_BAD_ADDRESS, "no PCI address", address);
}

TEST(DoorbellAddress, IsTakenInLowerCaseOnly) {
    EXPECT_TRUE(transport::vm::is_pci_address("0000:00:05.0"));
    EXPECT_TRUE(transport::vm::is_pci_address("abcd:ef:1f.7"));
    EXPECT_FALSE(transport::vm::is_pci_address("ABCD:ef:1f.7"));
}

TEST_F(DoorbellVfio, NoDevice) {
    expect_error(VMRPC_NO_SERVER, "no such PCI device");
}

TEST_F(DoorbellVfio, AnotherKindOfDevice) {
    fake_.add_device("0x1000");
    fake_.add_group();
    fake_.add_modules();
    expect_error(VMRPC_NOT_VMRPC, "no ivshmem device");
    EXPECT_EQ(fake_.read("sys/bus/pci/drivers_probe"), "");
}

TEST_F(DoorbellVfio, NoGroup) {
    fake_.add_device();
    fake_.add_modules();
    expect_error(VMRPC_NOT_SUPPORTED, "-device intel-iommu,intremap=on first");
}

TEST_F(DoorbellVfio, ModulesThatAreMissingAreNamed) {
    fake_.add_device();
    fake_.add_group();
    expect_error(VMRPC_NOT_SUPPORTED, "modprobe -a vfio-pci vfio_iommu_type1");
    fake_.add_modules();
    std::filesystem::remove_all(fake_.path("sys/module"));
    expect_error(VMRPC_NOT_SUPPORTED, "modprobe -a vfio_iommu_type1");
}

TEST_F(DoorbellVfio, ADeviceIsTakenFromItsDriver) {
    fake_.add_device();
    fake_.add_group();
    fake_.add_modules();
    fake_.write("sys/bus/pci/drivers/other/unbind", "");
    fake_.link(fake_.device("driver"), "../../drivers/other");
    // Nobody reads what was written, here.
    expect_error(VMRPC_NOT_SUPPORTED, "did not take");
    EXPECT_EQ(fake_.read(fake_.device("driver_override")), "vfio-pci");
    EXPECT_EQ(fake_.read("sys/bus/pci/drivers/other/unbind"), own_address());
    EXPECT_EQ(fake_.read("sys/bus/pci/drivers_probe"), own_address());
}

TEST_F(DoorbellVfio, OnlyRootMayChangeTheDriver) {
    fake_.add_device();
    fake_.add_group();
    fake_.add_modules();
    const std::string address = own_address();
    ::chmod(fake_.path(fake_.device("driver_override")).c_str(), 0444);
    const pid_t child = ::fork();
    if (child == 0) {
        if (::geteuid() == 0 && ::setuid(65534) != 0) ::_exit(3);
        const auto device = transport::vm::open_vfio_device(address, fake_.places());
        const bool told = !device && device.error().status == VMRPC_NOT_PERMITTED &&
                          device.error().text.find(">/sys/bus/pci/drivers_probe") != std::string::npos;
        ::_exit(told ? 0 : 1);
    }
    int status = -1;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
}

TEST_F(DoorbellVfio, NoContainer) {
    fake_.add_device();
    fake_.add_group();
    fake_.add_modules();
    fake_.link(fake_.device("driver"), "../../drivers/vfio-pci");
    expect_error(VMRPC_NOT_SUPPORTED, "modprobe -a vfio-pci vfio_iommu_type1");
    fake_.write("vfio/vfio", "");
    expect_error(VMRPC_NOT_SUPPORTED, "version");
    EXPECT_EQ(fake_.read(fake_.device("driver_override")), "");  // it had the right driver
}

}  // namespace
}  // namespace vmrpc::doorbell_test
