#include "heap/huge_pages.hpp"

#include <fmt/format.h>

#include <fstream>

namespace vmrpc::bench {
namespace {

constexpr auto kCount = "/proc/sys/vm/nr_hugepages";

/// A line's number in /proc/meminfo; 0 if there is none.
std::uint64_t meminfo(const std::string& name) {
    std::ifstream file("/proc/meminfo");
    for (std::string line; std::getline(file, line);) {
        if (line.starts_with(name + ":")) return std::stoull(line.substr(name.size() + 1));
    }
    return 0;
}

std::uint64_t free_pages() {
    return meminfo("HugePages_Free") - meminfo("HugePages_Rsvd");
}

std::string read_count() {
    std::ifstream file(kCount);
    std::string count;
    file >> count;
    return count;
}

bool write_count(const std::string& count) {
    std::ofstream file(kCount);
    file << count << std::flush;
    return file.good();
}

}  // namespace

std::uint64_t free_huge_page_bytes() {
    return free_pages() * kHugePageBytes;
}

HugePages::HugePages(std::uint64_t wanted_bytes) {
    if (meminfo("Hugepagesize") * 1024 != kHugePageBytes) {
        why_not_ = "the system's huge pages are not of 2 MiB";
        return;
    }
    const std::uint64_t wanted = wanted_bytes / kHugePageBytes;
    if (free_pages() >= wanted) return;
    const std::string before = read_count();
    if (before.empty() || !write_count(std::to_string(std::stoull(before) + wanted - free_pages()))) {
        why_not_ = fmt::format("cannot raise {}, which takes root: {} huge pages are needed", kCount, wanted);
        return;
    }
    before_ = before;
    if (const std::uint64_t got = free_pages(); got < wanted)
        why_not_ = fmt::format("the system has {} free huge pages of {} that are needed", got, wanted);
}

HugePages::~HugePages() {
    if (!before_.empty()) write_count(before_);
}

}  // namespace vmrpc::bench
