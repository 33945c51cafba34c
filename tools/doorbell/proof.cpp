#include "proof.hpp"

#include <fmt/format.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

namespace vmrpc::doorbell {
namespace {

using transport::vm::VfioPlaces;

bool is_read_write(int descriptor) {
    const int flags = ::fcntl(descriptor, F_GETFL);
    return flags >= 0 && (flags & O_ACCMODE) == O_RDWR && (flags & O_PATH) == 0;
}

/// By what the kernel calls it, since its number is not fixed.
bool is_dax(const struct stat& file, const VfioPlaces& places) {
    const std::string device =
        fmt::format("{}/dev/char/{}:{}", places.sysfs, gnu_dev_major(file.st_rdev), gnu_dev_minor(file.st_rdev));
    return transport::vm::link_name(device + "/subsystem") == "dax";
}

bool is_memory_of(const struct stat& file, const std::string& address, const VfioPlaces& places) {
    for (const char* name : {"/resource2", "/resource2_wc"}) {
        struct stat ours {};
        if (::stat((places.device(address) + name).c_str(), &ours) == 0 && ours.st_dev == file.st_dev &&
            ours.st_ino == file.st_ino)
            return true;
    }
    return false;
}

bool proves(int proof, const std::string& address, const VfioPlaces& places) {
    struct stat file {};
    if (proof < 0 || !is_read_write(proof) || ::fstat(proof, &file) != 0) return false;
    if (S_ISCHR(file.st_mode)) return is_dax(file, places);
    return S_ISREG(file.st_mode) && is_memory_of(file, address, places);
}

}  // namespace

base::Status check_client(const transport::Peer& client, int proof, const std::string& address,
                          const VfioPlaces& places) {
    if (client.uid == 0 || client.uid == ::geteuid() || proves(proof, address, places)) return {};
    return base::fail(VMRPC_NOT_PERMITTED,
                      fmt::format("{0}: user {1} is neither root nor user {2}, who holds the device, and has not shown "
                                  "that it may write the memory that this device's interrupts tell of: open "
                                  "/dev/daxN.M or {3}/resource2 for reading and writing",
                                  address, client.uid, ::geteuid(), places.device(address)));
}

}  // namespace vmrpc::doorbell
