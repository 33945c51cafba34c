// The harness's parts that need no guest.
#include "guest_config.hpp"
#include "guest_image.hpp"
#include "initramfs.hpp"
#include "kernel_modules.hpp"
#include "line_log.hpp"
#include "qemu_command.hpp"
#include "shared_libraries.hpp"

#include <gtest/gtest.h>

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <thread>

namespace vmrpc::vm {
namespace {

using std::chrono::milliseconds;

std::string contents(int fd) {
    std::string bytes(static_cast<std::size_t>(lseek(fd, 0, SEEK_END)), '\0');
    EXPECT_EQ(pread(fd, bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
    close(fd);
    return bytes;
}

TEST(GuestConfig, ComesBackAsItWent) {
    GuestConfig config;
    config.modules = {{"/modules/fuse.ko", "a=1 b=2"}};
    config.address = "10.0.2.15";
    config.ports = {"bulk"};
    config.pmem_devices = 2;
    config.environment = {"A=line\nbreak"};
    config.commands = {{{"program", "", "two words"}, true}, {{"other"}, false}};
    config.keep_going = true;
    GuestConfig back;
    ASSERT_TRUE(parse(serialize(config), back));
    EXPECT_EQ(serialize(back), serialize(config));
    EXPECT_EQ(back.commands[0].args, config.commands[0].args);
    EXPECT_TRUE(back.commands[0].background);
    EXPECT_EQ(back.pmem_devices, 2U);
}

TEST(GuestConfig, DamageIsNoticed) {
    GuestConfig config;
    config.commands = {{{"program"}, false}};
    const auto text = serialize(config);
    GuestConfig back;
    for (std::size_t bytes = 0; bytes < text.size(); ++bytes) EXPECT_FALSE(parse(text.substr(0, bytes), back)) << bytes;
    EXPECT_FALSE(parse(text + "x", back));
}

// The sizes by hand: a header is 110 bytes; it and its name, and the bytes, each end at a multiple of 4.
TEST(Initramfs, IsNewc) {
    Initramfs image;
    image.add_bytes("/a/b", "12345", 0755);
    image.add_bytes("/a/b", "a second time");
    const auto bytes = contents(image.finish());
    const std::size_t folder = 110 + 2;
    const std::size_t file = folder + 110 + 4 + 2;
    ASSERT_EQ(bytes.size(), file + 8 + 110 + 11 + 3);
    EXPECT_EQ(bytes.substr(0, 6), "070701");
    EXPECT_EQ(bytes.substr(14, 8), "000041ED");
    EXPECT_EQ(bytes.substr(folder + 14, 8), "000081ED");
    EXPECT_EQ(bytes.substr(folder + 54, 8), "00000005");
    EXPECT_EQ(bytes.substr(file, 5), "12345");
    EXPECT_EQ(bytes.substr(file + 8 + 110, 10), "TRAILER!!!");
}

TEST(Initramfs, RefusesWhatIsNoPath) {
    Initramfs image;
    EXPECT_THROW(image.add_bytes("relative", ""), std::runtime_error);
    EXPECT_THROW(image.add("/no/such/file", "/file"), std::runtime_error);
}

TEST(KernelModules, ComeAfterWhatTheyNeed) {
    const auto modules = resolve_modules(kernel_folder({}) / "modules", {"vfio-pci", "virtio_pci", "vfio_pci"});
    const auto place = [&](const std::string& name) {
        return std::find_if(modules.begin(), modules.end(), [&](const auto& module) { return module.name == name; });
    };
    ASSERT_NE(place("vfio_pci"), modules.end());
    EXPECT_LT(place("vfio"), place("vfio_pci_core"));
    EXPECT_LT(place("vfio_pci_core"), place("vfio_pci"));
    EXPECT_EQ(std::count_if(modules.begin(), modules.end(), [](const auto& m) { return m.name == "vfio_pci"; }), 1);
}

TEST(KernelModules, InfoOfSomethingElseIsEmpty) {
    EXPECT_EQ(module_info("", "depends"), "");
    EXPECT_EQ(module_info("\x7f"
                          "ELF and nothing more",
                          "depends"),
              "");
    EXPECT_EQ(module_info(std::string(64, '\xff')
                              .replace(0, 4,
                                       "\x7f"
                                       "ELF"),
                          "depends"),
              "");
}

TEST(SharedLibraries, OfAStaticAndADynamicProgram) {
    EXPECT_TRUE(libraries_of(PROBE).empty());
    EXPECT_TRUE(libraries_of("/etc/passwd").empty());
    const auto libraries = libraries_of(DYNAMIC_PROBE);
    EXPECT_TRUE(std::any_of(libraries.begin(), libraries.end(),
                            [](const auto& l) { return l.guest_path == "/lib/libc.so.6"; }));
}

TEST(LineLog, PutsPiecesTogether) {
    std::vector<std::string> heard;
    LineLog log{[&](std::string_view line) { heard.emplace_back(line); }};
    log.append("one\r\ntw");
    log.append("o\nunfinished");
    EXPECT_EQ(log.text(), "one\ntwo\n");
    log.finish();
    EXPECT_EQ(log.text(), "one\ntwo\nunfinished\n");
    EXPECT_EQ(heard.size(), 3U);
}

TEST(LineLog, WaitsForALineAfterTheLastOneFound) {
    LineLog log;
    log.append("port 1\nport 2\n");
    EXPECT_EQ(log.wait_for(std::regex{"^port"}, milliseconds{0}), "port 1");
    EXPECT_EQ(log.wait_for(std::regex{"^port"}, milliseconds{0}), "port 2");
    EXPECT_EQ(log.wait_for(std::regex{"^port"}, milliseconds{1}), std::nullopt);
    std::thread writer{[&] { log.append("port 3\n"); }};
    EXPECT_EQ(log.wait_for(std::regex{"^port"}, std::chrono::seconds{60}), "port 3");
    writer.join();
}

TEST(QemuCommand, NeverHasOneProcessorOnly) {
    const auto args = qemu_command("qemu", "vmlinux", {}, {});
    EXPECT_NE(std::find(args.begin(), args.end(), "1,maxcpus=2"), args.end());
    EXPECT_NE(std::find(args.begin(), args.end(), "tcg,thread=multi"), args.end());
}

TEST(QemuCommand, HasTheDevicesAskedFor) {
    GuestOptions options;
    options.doorbells = {{"/run/a,b.sock", 2}, {"c.sock", 1}};
    options.iommu = true;
    const auto args = qemu_command("qemu", "vmlinux", options, {.kvm = true, .reason = ""});
    const auto place = [&](const std::string& text) { return std::find(args.begin(), args.end(), text); };
    EXPECT_NE(place("socket,id=doorbell0,path=/run/a,,b.sock"), args.end());
    EXPECT_NE(place("ivshmem-doorbell,chardev=doorbell1,vectors=1"), args.end());
    EXPECT_LT(place("intel-iommu,intremap=on"), place("ivshmem-doorbell,chardev=doorbell0,vectors=2"));
}

TEST(QemuCommand, HasTheNetworkAskedFor) {
    GuestOptions options;
    options.network = true;
    const auto has = [&](const std::string& text) {
        const auto args = qemu_command("qemu", "vmlinux", options, {});
        return std::find(args.begin(), args.end(), text) != args.end();
    };
    EXPECT_TRUE(has("user,id=net0"));
    options.tap = "tap0";
    EXPECT_TRUE(has("tap,id=net0,script=no,downscript=no,ifname=tap0"));
    EXPECT_FALSE(has("user,id=net0"));
}

TEST(QemuCommand, HasRoomForPmem) {
    GuestOptions options;
    options.pmem = {{"/run/a,b", 64U << 20}};
    const auto args = qemu_command("qemu", "vmlinux", options, {});
    const auto has = [&](const std::string& text) { return std::find(args.begin(), args.end(), text) != args.end(); };
    EXPECT_TRUE(has("256,slots=1,maxmem=1344M"));
    EXPECT_TRUE(has("memory-backend-file,share=on,id=pmem0,size=67108864,mem-path=/run/a,,b"));
    EXPECT_TRUE(has("virtio-pmem-pci,memdev=pmem0"));
}

}  // namespace
}  // namespace vmrpc::vm
