// What `vmrpc doctor` finds in a service's folder.
#include "doctor_machine.hpp"
#include "transport/vm/memory_file.hpp"

#include <sys/socket.h>
#include <sys/un.h>

#include <cstdint>
#include <sstream>

namespace tool {
namespace {

/// A service's folder, with a listening socket where a test wants one.
class DoctorFolder : public Doctor {
  protected:
    DoctorFolder() : folder_(root_ + "/service") { fs::create_directories(folder_); }
    void add_vm(const std::string& name) const {
        const auto made = vmrpc::transport::vm::make_memory_file(folder_ + "/" + name + ".mem", 16 << 20);
        ASSERT_TRUE(made) << made.error().text;
    }
    vmrpc::base::Fd bound(const std::string& name) const {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        (folder_ + "/" + name).copy(address.sun_path, sizeof address.sun_path - 1);
        vmrpc::base::Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
        EXPECT_EQ(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
        return socket;
    }
    Findings here(const std::string& settings = "") const {
        std::stringstream sockets;
        sockets << std::ifstream("/proc/net/unix").rdbuf();
        write("/proc/net/unix", sockets.str());
        return host("vm:" + folder_ + settings);
    }
    std::string folder_;
};

TEST_F(DoctorFolder, NoneAndEmpty) {
    expect(host("vm:" + folder_ + "/none"), Level::kError, "folder", "is no folder", "vmrpc qemu-args");
    const Findings findings = here();
    expect(findings, Level::kOk, "folder", folder_);
    expect(findings, Level::kWarning, "VM", "no NAME.mem", "vmrpc qemu-args");
}

TEST_F(DoctorFolder, Permissions) {
    ::chmod(folder_.c_str(), 0777);
    expect(here(), Level::kWarning, "folder", "anybody may change", "chmod o-w");
    ::chmod(folder_.c_str(), 0555);
    const Machine machine(root_);
    Findings findings;
    {
        const AsNobody nobody;
        check_folder(machine, parse_vm_address("vm:" + folder_), findings);
    }
    expect(findings, Level::kError, "folder", "is not for user", "as the user");
    ::chmod(folder_.c_str(), 0755);
}

TEST_F(DoctorFolder, FilesAndSockets) {
    add_vm("a");
    write("/service/broken.mem", "not a memory file");
    Findings findings = here();
    expect(findings, Level::kOk, "VM", folder_ + "/a.mem: a segment of 16 MiB");
    expect(findings, Level::kError, "VM", "broken.mem", "vmrpc qemu-args");
    expect(findings, Level::kWarning, "socket", "a.doorbell is not there", "start the service");
    const auto socket = bound("a.doorbell");
    expect(here(), Level::kWarning, "socket", "on which nobody listens", "start the service");
    ASSERT_EQ(::listen(socket.get(), 1), 0);
    expect(here(), Level::kOk, "socket", "a.doorbell, on which a service listens");
    expect(here("?ring=poll"), Level::kWarning, "socket", "a.poll is not there", "this ring");
    expect(here("?ring=vsock"), Level::kWarning, "socket", "a.vsock is not there", "this ring");
    expect(here("?ring=serial"), Level::kWarning, "socket", "a.serial is not there", "this ring");
    write("/service/a.poll", "a file");
    expect(here("?ring=poll"), Level::kError, "socket", "a.poll is no socket", "remove it");
    EXPECT_THAT(here("?memory=bar").text(), HasSubstr("bar.doorbell is not there"));
}

TEST_F(DoctorFolder, RamFiles) {
    expect(here("?memory=ram"), Level::kWarning, "VM", "no NAME.ram", "vmrpc qemu-args");
    write("/service/a.ram", std::string(1 << 20, 'x'));
    write("/service/empty.ram");
    const Findings findings = here("?memory=ram");
    expect(findings, Level::kOk, "VM", folder_ + "/a.ram: a VM's RAM of 1 MiB");
    expect(findings, Level::kError, "VM", "empty.ram", "vmrpc qemu-args");
    expect(findings, Level::kWarning, "socket", "a.vsock is not there", "start the service");
}

TEST_F(DoctorFolder, AFileThatNoRoomIsLeftFor) {
    const auto made = vmrpc::transport::vm::make_memory_file(folder_ + "/huge.mem", std::uint64_t{1} << 42);
    ASSERT_TRUE(made) << made.error().text;
    expect(here(), Level::kWarning, "space", "may take 4194305 MiB more", "SIGBUS");
}

}  // namespace
}  // namespace tool
