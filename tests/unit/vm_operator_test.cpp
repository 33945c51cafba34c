// What `vmrpc qemu-args` and `vmrpc libvirt-xml` make of an address, a name, and options.
#include "transport/vm/info_block.hpp"
#include "transport/vm/memory_file.hpp"
#include "vmrpc/failure.hpp"
#include "vmrpc/vm/libvirt_xml.hpp"
#include "vmrpc/vm/qemu_args.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

namespace tool {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

constexpr std::uint64_t kSegment = 32 << 20;

class VmOperator : public testing::Test {
  protected:
    VmOperator() : folder_("/tmp/vmrpc-test-XXXXXX") { EXPECT_NE(::mkdtemp(folder_.data()), nullptr); }
    ~VmOperator() override { std::filesystem::remove_all(folder_); }

    VmWishes wishes(const std::string& settings = "", const std::string& name = "a") const {
        VmWishes wishes;
        wishes.address = "vm:" + folder_ + settings;
        wishes.name = name;
        return wishes;
    }
    VmWishes small(const std::string& settings = "", const std::string& name = "a") const {
        VmWishes small = wishes(settings, name);
        small.segment_bytes = kSegment;
        return small;
    }
    static void expect_refused(const VmWishes& wishes, const std::string& text) {
        try {
            static_cast<void>(settle(wishes));
            ADD_FAILURE() << wishes.address << " " << wishes.name << " was not refused: " << text;
        } catch (const Failure& failure) {
            EXPECT_THAT(failure.what(), HasSubstr(text));
        }
    }
    std::string memory_words(const std::string& name = "a") const {
        return fmt::format("memory-backend-file,id=vmrpc-{0},size={1},mem-path={2}/{0}.mem,share=on", name,
                           kSegment + vmrpc::transport::vm::kDaxDataOffset, folder_);
    }
    std::string folder_;
};

TEST_F(VmOperator, DaxAndDoorbell) {
    const VmSetup setup = settle(small());
    EXPECT_THAT(qemu_args(setup),
                ElementsAre("-object", memory_words(), "-device", "virtio-pmem-pci,memdev=vmrpc-a,id=vmrpc-a-memory",
                            "-chardev", "socket,id=vmrpc-a-bell,path=" + folder_ + "/a.doorbell", "-device",
                            "ivshmem-doorbell,chardev=vmrpc-a-bell,vectors=5", "-chardev",
                            "socket,id=vmrpc-a-life,path=" + folder_ + "/a.poll,reconnect=1"));
    const auto memory = vmrpc::transport::vm::open_memory_file(folder_ + "/a.mem");
    ASSERT_TRUE(memory) << memory.error().text;
    EXPECT_EQ(memory->segment_bytes, kSegment);
}

TEST_F(VmOperator, NvdimmWithRamAndPoll) {
    VmWishes wanted = small("?ring=poll");
    wanted.device = DaxDevice::kNvdimm;
    wanted.ram_bytes = 4 * kGib;
    EXPECT_THAT(qemu_args(settle(wanted)),
                ElementsAre("-m", "4096M,slots=2,maxmem=5120M", "-machine", "nvdimm=on", "-object", memory_words(),
                            "-device", "nvdimm,memdev=vmrpc-a,id=vmrpc-a-memory", "-chardev",
                            "socket,id=vmrpc-a-life,path=" + folder_ + "/a.poll,reconnect=1"));
}

TEST_F(VmOperator, Vsock) {
    VmWishes wanted = small("?ring=vsock");
    wanted.vsock_by = VsockBy::kService;
    wanted.ram_bytes = kGib;
    const auto by_service = qemu_args(settle(wanted));
    EXPECT_THAT(by_service, testing::Contains("memory-backend-memfd,id=vmrpc-a-ram,size=1024M,share=on"));
    EXPECT_THAT(by_service, testing::Contains("memory-backend=vmrpc-a-ram"));
    EXPECT_THAT(by_service, testing::Contains("socket,id=vmrpc-a-vsock,path=" + folder_ + "/a.vsock"));
    EXPECT_THAT(by_service, testing::Contains("vhost-user-vsock-pci,chardev=vmrpc-a-vsock"));
    wanted.vsock_by = VsockBy::kKernel;
    EXPECT_THROW(static_cast<void>(qemu_args(settle(wanted))), Failure) << "without a number";
    wanted.cid = 7;
    EXPECT_THAT(qemu_args(settle(wanted)), testing::Contains("vhost-vsock-pci,guest-cid=7"));
}

TEST_F(VmOperator, QemuMayWaitForTheService) {
    VmWishes wanted = small();
    wanted.waits = true;
    const auto waits_at = [](const std::string& id, const std::string& path) {
        return testing::Contains("socket,id=vmrpc-a-" + id + ",path=" + path + ",server=on,wait=on");
    };
    EXPECT_THAT(qemu_args(settle(wanted)), waits_at("bell", folder_ + "/a.doorbell.qemu"));
    wanted.address = "vm:" + folder_ + "?ring=vsock";
    EXPECT_THAT(qemu_args(settle(wanted)), waits_at("vsock", folder_ + "/a.vsock.qemu"));
    wanted.address = "vm:" + folder_ + "?ring=poll";
    expect_refused(wanted, "QEMU starts without its service");
    wanted.segment_bytes.reset();
    wanted.address = "vm:" + folder_ + "?memory=bar";
    EXPECT_THAT(qemu_args(settle(wanted)), waits_at("bell", folder_ + "/a.bar.qemu"));
}

TEST_F(VmOperator, SerialHasAPortForEachProcess) {
    const VmSetup setup = settle(small("?ring=serial&processes=2"));
    const std::string socket = folder_ + "/a.serial,reconnect=1";
    EXPECT_THAT(qemu_args(setup),
                ElementsAre("-object", memory_words(), "-device", "virtio-pmem-pci,memdev=vmrpc-a,id=vmrpc-a-memory",
                            "-device", "virtio-serial-pci,id=vmrpc-a-serial,max_ports=3", "-chardev",
                            "socket,id=vmrpc-a-port0,path=" + socket, "-device",
                            "virtserialport,bus=vmrpc-a-serial.0,chardev=vmrpc-a-port0,name=vmrpc.0", "-chardev",
                            "socket,id=vmrpc-a-port1,path=" + socket, "-device",
                            "virtserialport,bus=vmrpc-a-serial.0,chardev=vmrpc-a-port1,name=vmrpc.1", "-chardev",
                            "socket,id=vmrpc-a-life,path=" + folder_ + "/a.poll,reconnect=1"));
    EXPECT_THAT(qemu_needs(setup), Not(testing::Contains(HasSubstr("the service runs before QEMU"))));
    const std::string xml = libvirt_xml(setup);
    EXPECT_THAT(xml, HasSubstr("<source mode='connect' path='" + folder_ + "/a.serial'>"));
    EXPECT_THAT(xml, HasSubstr("<reconnect enabled='yes' timeout='1'/>"));
    EXPECT_THAT(xml, HasSubstr("<target type='virtio' name='vmrpc.1'/>"));
    EXPECT_THAT(xml, Not(HasSubstr("vmrpc.2")));
    EXPECT_THAT(xml, Not(HasSubstr("qemu:")));
}

TEST_F(VmOperator, RamIsAFile) {
    VmWishes wanted = wishes("?memory=ram");
    expect_refused(wanted, "as in --ram 4G");
    wanted.ram_bytes = kGib;
    const VmSetup setup = settle(wanted);
    EXPECT_TRUE(setup.was_made);
    EXPECT_EQ(std::filesystem::file_size(folder_ + "/a.ram"), kGib);
    EXPECT_THAT(
        qemu_args(setup),
        ElementsAre("-m", "1024M", "-object",
                    "memory-backend-file,mem-path=" + folder_ + "/a.ram,id=vmrpc-a-ram,size=1024M,share=on", "-machine",
                    "memory-backend=vmrpc-a-ram", "-chardev", "socket,id=vmrpc-a-vsock,path=" + folder_ + "/a.vsock",
                    "-device", "vhost-user-vsock-pci,chardev=vmrpc-a-vsock", "-chardev",
                    "socket,id=vmrpc-a-life,path=" + folder_ + "/a.poll,reconnect=1"));
    EXPECT_THAT(qemu_needs(setup), testing::Contains(HasSubstr("CAP_SYS_ADMIN")));
    EXPECT_EQ(as_json(setup)["file"]["path"], folder_ + "/a.ram");
    EXPECT_THAT(libvirt_xml(setup), HasSubstr("<source type='file'/>"));
    EXPECT_FALSE(settle(wishes("?memory=ram&ring=vsock")).was_made);
    wanted.ram_bytes = 2 * kGib;
    expect_refused(wanted, "leave --ram out");
    for (const std::string ring : {"doorbell", "serial", "poll"})
        expect_refused(wishes("?memory=ram&ring=" + ring), "ring=vsock");
    expect_refused(small("?memory=ram"), "--size is for memory=dax");
    wanted = wishes("?memory=ram");
    wanted.vsock_by = VsockBy::kKernel;
    expect_refused(wanted, "--vsock service");
}

TEST_F(VmOperator, MemoryInABarNeedsNoFile) {
    for (const std::string ring : {"", "&ring=poll"}) {
        const VmSetup setup = settle(wishes("?memory=bar&processes=8" + ring));
        EXPECT_THAT(qemu_args(setup),
                    ElementsAre("-chardev", "socket,id=vmrpc-a-bell,path=" + folder_ + "/bar.doorbell", "-device",
                                "ivshmem-doorbell,chardev=vmrpc-a-bell,vectors=9"));
    }
    EXPECT_TRUE(std::filesystem::is_empty(folder_));
    expect_refused(small("?memory=bar"), "--size is for memory=dax");
    for (const std::string ring : {"vsock", "serial"})
        expect_refused(wishes("?memory=bar&ring=" + ring), "ring=doorbell");
}

TEST_F(VmOperator, AFileThatIsThereIsKept) {
    const VmSetup first = settle(small());
    EXPECT_TRUE(first.was_made);
    for (const VmSetup& again : {settle(small()), settle(wishes())}) {
        EXPECT_FALSE(again.was_made);
        EXPECT_EQ(again.uuid, first.uuid);
        EXPECT_EQ(again.file_bytes, first.file_bytes);
    }
    VmWishes larger = small();
    larger.segment_bytes = kSegment + 1;
    expect_refused(larger, "leave --size out");
    EXPECT_EQ(settle(wishes()).uuid, first.uuid);
}

TEST_F(VmOperator, TheFileHasItsModeAndTheFolderIsMade) {
    VmWishes wanted = small();
    wanted.address = "vm:" + folder_ + "/new/deep";
    wanted.mode = 0600;
    const VmSetup setup = settle(wanted);
    struct stat status {};
    ASSERT_EQ(::stat((folder_ + "/new/deep/a.mem").c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777, 0600U);
    EXPECT_EQ(setup.path_of("mem"), folder_ + "/new/deep/a.mem");
}

TEST_F(VmOperator, NamesThatCannotBe) {
    for (const std::string name : {"a/b", "a,b", "a b", ".a", "-a", "../a", "ä"})
        expect_refused(small("", name), "cannot be a VM's name");
    expect_refused(small("", ""), "is empty");
    expect_refused(small("", "bar"), "bar.doorbell is every VM's");
    const std::size_t most = 107 - folder_.size() - 1 - std::string(".doorbell.qemu").size();
    expect_refused(small("", std::string(most + 1, 'n')), "choose a shorter name");
    EXPECT_NO_THROW(static_cast<void>(settle(small("", std::string(most, 'n')))));
    for (const auto& entry : std::filesystem::directory_iterator(folder_))
        EXPECT_EQ(entry.path().filename(), std::string(most, 'n') + ".mem");
}

TEST_F(VmOperator, AddressesThatCannotBe) {
    expect_refused(small("?memory=none"), "there are: best, dax, bar, ram");
    expect_refused(small("?ring=bell"), "there are: best, doorbell, vsock, serial, poll");
    expect_refused(small("?processes=0"), "from 1 to 64");
    expect_refused(small("?processes=4x"), "from 1 to 64");
    expect_refused(small("?colour=red"), "\"colour=red\" is unknown");
    for (const std::string address : {"local:/tmp/a", "ivshmem:/tmp/a", "/tmp/a", ""}) {
        VmWishes other = small();
        other.address = address;
        expect_refused(other, "vm:FOLDER");
    }
    for (const std::string address : {"vm:", "vm:dax0.0", "vm:0000:00:05.0"}) {
        VmWishes other = small();
        other.address = address;
        expect_refused(other, "is a guest's address");
    }
}

TEST_F(VmOperator, WishesThatCannotBe) {
    VmWishes wanted = small("?processes=8");
    wanted.processes = 4;
    expect_refused(wanted, "the service goes by its address");
    wanted = small();
    wanted.segment_bytes = 4096;
    expect_refused(wanted, "too small");
    wanted = small();
    wanted.ram_bytes = kGib + 1;
    expect_refused(wanted, "no whole MiB");
    wanted = small("?ring=vsock");
    wanted.cid = 2;
    expect_refused(wanted, "from 3");
    EXPECT_TRUE(std::filesystem::is_empty(folder_));
}

TEST_F(VmOperator, WhatAShellOrQemuWouldTakeAmiss) {
    VmWishes wanted = small();
    wanted.address = "vm:" + folder_ + "/one,two";
    EXPECT_THAT(qemu_args(settle(wanted))[1], HasSubstr("/one,,two/a.mem,share=on"));
    EXPECT_NO_THROW(static_cast<void>(as_shell_lines(qemu_args(settle(wanted)))));
    for (const std::string folder : {"/one two", "/$one", "/one*", "/o'ne"}) {
        wanted.address = "vm:" + folder_ + folder;
        EXPECT_THROW(static_cast<void>(as_shell_lines(qemu_args(settle(wanted)))), Failure) << folder;
    }
}

TEST_F(VmOperator, TheHintsGoByTheChoice) {
    const auto all = [](const VmWishes& wanted) {
        return fmt::format("{}", fmt::join(qemu_needs(settle(wanted)), "\n"));
    };
    EXPECT_THAT(all(small()), HasSubstr("maxmem=RAM+1024M"));
    EXPECT_THAT(all(small()), HasSubstr("intel-iommu"));
    EXPECT_THAT(all(small("?ring=poll")), Not(HasSubstr("intel-iommu")));
    EXPECT_THAT(all(wishes("?memory=bar")), Not(HasSubstr("maxmem")));
    VmWishes wanted = small("?ring=vsock");
    wanted.vsock_by = VsockBy::kService;
    EXPECT_THAT(all(wanted), HasSubstr("memory-backend-memfd"));
}

TEST_F(VmOperator, LibvirtGetsTheSame) {
    VmWishes wanted = small();
    wanted.ram_bytes = 4 * kGib;
    const std::string xml = libvirt_xml(settle(wanted));
    EXPECT_THAT(xml, HasSubstr("<maxMemory slots='2' unit='MiB'>5120</maxMemory>"));
    EXPECT_THAT(xml, HasSubstr("<memory model='virtio-pmem' access='shared'>"));
    EXPECT_THAT(xml, HasSubstr("<path>" + folder_ + "/a.mem</path>"));
    EXPECT_THAT(xml, HasSubstr(fmt::format("<size unit='KiB'>{}</size>", (kSegment >> 10) + 2048)));
    EXPECT_THAT(xml, HasSubstr("<server path='" + folder_ + "/a.doorbell'/>"));
    EXPECT_THAT(xml, HasSubstr("<msi vectors='5' ioeventfd='on'/>"));
    EXPECT_THAT(xml, HasSubstr("<driver intremap='on'/>"));
    EXPECT_THAT(xml, Not(HasSubstr("qemu:")));
}

TEST_F(VmOperator, LibvirtPassesOnWhatItDoesNotKnow) {
    EXPECT_THAT(libvirt_xml(settle(small("?ring=poll"))),
                HasSubstr("<qemu:arg value='socket,id=vmrpc-a-poll,path=" + folder_ + "/a.poll,reconnect=1'/>"));
    VmWishes wanted = small("?ring=vsock");
    wanted.vsock_by = VsockBy::kKernel;
    EXPECT_THAT(libvirt_xml(settle(wanted)), HasSubstr("<cid auto='yes'/>"));
    wanted.vsock_by = VsockBy::kService;
    EXPECT_THAT(libvirt_xml(settle(wanted)),
                HasSubstr("<qemu:arg value='vhost-user-vsock-pci,chardev=vmrpc-a-vsock'/>"));
    EXPECT_THAT(libvirt_xml(settle(wanted)), HasSubstr("<access mode='shared'/>"));
}

TEST_F(VmOperator, XmlIsEscaped) {
    VmWishes wanted = small();
    wanted.address = "vm:" + folder_ + "/<a>&'--b";
    const std::string xml = libvirt_xml(settle(wanted));
    EXPECT_THAT(xml, HasSubstr("/&lt;a&gt;&amp;&apos;--b/a.mem</path>"));
    EXPECT_THAT(xml.substr(0, xml.find('\n')), Not(HasSubstr("--b")));
}

}  // namespace
}  // namespace tool
