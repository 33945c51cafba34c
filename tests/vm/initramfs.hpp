// Writes a cpio archive in the "newc" format, which the kernel unpacks as its first root file system.
#pragma once

#include <cstdint>
#include <filesystem>
#include <set>
#include <string>
#include <string_view>

namespace vmrpc::vm {

// Parent folders are made as needed; a path given twice keeps its first content. Needs no root, not even for device
// nodes, as the archive is only bytes. Throws std::runtime_error with the path and the reason.
class Initramfs {
  public:
    Initramfs();
    ~Initramfs();
    Initramfs(const Initramfs&) = delete;
    Initramfs& operator=(const Initramfs&) = delete;

    void add_directory(const std::string& path);
    void add_bytes(const std::string& path, std::string_view bytes, std::uint32_t permissions = 0644);
    void add_character_device(const std::string& path, unsigned major, unsigned minor);

    // A file keeps its permission bits; a folder is added with everything below it, symbolic links followed.
    void add(const std::filesystem::path& host_path, const std::string& path);

    bool contains(const std::string& path) const { return paths_.contains(path); }

    // Ends the archive and gives it away: a descriptor of memory without a name, so that nothing is left on a disk even
    // if this process is killed.
    int finish();

  private:
    struct Entry {
        std::uint32_t mode = 0;
        std::uint32_t bytes = 0;
        unsigned major = 0;
        unsigned minor = 0;
    };

    bool add_entry(const std::string& path, const Entry& entry);
    void add_file(const std::filesystem::path& host_path, const std::string& path);
    void write(std::string_view bytes);
    void pad();

    int fd_;
    std::uint64_t offset_ = 0;
    std::uint32_t next_inode_ = 1;
    std::set<std::string> paths_;
};

}  // namespace vmrpc::vm
