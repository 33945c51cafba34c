#include "initramfs.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <limits>
#include <stdexcept>
#include <utility>

namespace vmrpc::vm {
namespace {

constexpr std::uint64_t kAlignment = 4;  // of every header and every file's bytes

[[noreturn]] void fail(const std::string& what) {
    throw std::runtime_error("initramfs: " + what);
}

std::string parent_of(const std::string& path) {
    return path.substr(0, path.rfind('/'));
}

}  // namespace

Initramfs::Initramfs() : fd_(memfd_create("vmrpc-initramfs", MFD_CLOEXEC)) {
    if (fd_ < 0) fail(std::string{"memfd_create: "} + std::strerror(errno));
}

Initramfs::~Initramfs() {
    if (fd_ >= 0) close(fd_);
}

void Initramfs::write(std::string_view bytes) {
    while (!bytes.empty()) {
        const auto written = ::write(fd_, bytes.data(), bytes.size());
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) fail(std::string{"cannot write: "} + std::strerror(errno));
        bytes.remove_prefix(static_cast<std::size_t>(written));
        offset_ += static_cast<std::uint64_t>(written);
    }
}

void Initramfs::pad() {
    const std::array<char, kAlignment> zeros{};
    write({zeros.data(), (kAlignment - offset_ % kAlignment) % kAlignment});
}

// The header: a magic number and 13 fields of 8 hexadecimal digits, then the name with its NUL.
bool Initramfs::add_entry(const std::string& path, const Entry& entry) {
    if (path.empty() || path.front() != '/') fail("'" + path + "' is no absolute path in the guest");
    if (!paths_.insert(path).second) return false;
    if (const auto parent = parent_of(path); !parent.empty()) add_directory(parent);

    const auto name = path.substr(1);
    std::array<char, 6 + 13 * 8 + 1> header{};
    std::snprintf(header.data(), header.size(), "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X",
                  next_inode_++, entry.mode, 0U, 0U, 1U, 0U, entry.bytes, 0U, 0U, entry.major, entry.minor,
                  static_cast<unsigned>(name.size() + 1), 0U);
    write({header.data(), header.size() - 1});
    write({name.c_str(), name.size() + 1});
    pad();
    return true;
}

void Initramfs::add_directory(const std::string& path) {
    add_entry(path, {.mode = S_IFDIR | 0755});
}

void Initramfs::add_character_device(const std::string& path, unsigned major, unsigned minor) {
    add_entry(path, {.mode = S_IFCHR | 0600, .major = major, .minor = minor});
}

void Initramfs::add_bytes(const std::string& path, std::string_view bytes, std::uint32_t permissions) {
    if (bytes.size() > std::numeric_limits<std::uint32_t>::max()) fail(path + " is larger than 4 GiB");
    if (!add_entry(path, {.mode = S_IFREG | permissions, .bytes = static_cast<std::uint32_t>(bytes.size())})) return;
    write(bytes);
    pad();
}

void Initramfs::add_file(const std::filesystem::path& host_path, const std::string& path) {
    std::ifstream in{host_path, std::ios::binary};
    if (!in) fail("cannot read " + host_path.string());
    const std::string bytes{std::istreambuf_iterator<char>{in}, {}};
    const auto permissions = static_cast<std::uint32_t>(std::filesystem::status(host_path).permissions());
    add_bytes(path, bytes, permissions & 07777U);
}

void Initramfs::add(const std::filesystem::path& host_path, const std::string& path) {
    if (!std::filesystem::is_directory(host_path)) return add_file(host_path, path);
    add_directory(path);
    for (const auto& entry : std::filesystem::directory_iterator{host_path})
        add(entry.path(), path + "/" + entry.path().filename().string());
}

int Initramfs::finish() {
    // The kernel ends at this name; it is no path, so it goes past add_entry's check with a leading slash that is cut.
    add_entry("/TRAILER!!!", {});
    return std::exchange(fd_, -1);
}

}  // namespace vmrpc::vm
