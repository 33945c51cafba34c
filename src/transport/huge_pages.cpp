#include "transport/huge_pages.hpp"

#include <fmt/format.h>

#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/vfs.h>

#include <array>
#include <cerrno>
#include <fstream>
#include <string_view>
#include <system_error>

namespace vmrpc::transport {
namespace {

constexpr auto kOfAllSizes = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";
/// Since Linux 6.10 each size has a word of its own, which may be "inherit": the other file's.
constexpr auto kOfThisSize = "/sys/kernel/mm/transparent_hugepage/hugepages-2048kB/shmem_enabled";

std::string word_of(const char* path) {
    std::ifstream in(path);
    std::string words;
    std::getline(in, words);
    return chosen_word(words);
}

bool is_allowed(std::string_view word) {
    constexpr std::array<std::string_view, 4> words{"always", "within_size", "advise", "force"};
    for (const std::string_view each : words) {
        if (word == each) return true;
    }
    return false;
}

}  // namespace

std::optional<std::uint64_t> free_huge_pages() {
    std::ifstream in("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages");
    std::uint64_t pages = 0;
    return in >> pages ? std::optional(pages) : std::nullopt;
}

bool is_hugetlb(int descriptor) {
    struct statfs status {};
    return ::fstatfs(descriptor, &status) == 0 && static_cast<std::uint64_t>(status.f_type) == HUGETLBFS_MAGIC;
}

std::string chosen_word(const std::string& words) {
    const auto begin = words.find('[');
    const auto end = words.find(']');
    return begin == std::string::npos || end == std::string::npos || end < begin
               ? std::string()
               : words.substr(begin + 1, end - begin - 1);
}

base::Status check_transparent() {
    const std::string own = word_of(kOfThisSize);
    const bool inherits = own.empty() || own == "inherit";
    const char* const file = inherits ? kOfAllSizes : kOfThisSize;
    const std::string word = inherits ? word_of(kOfAllSizes) : own;
    if (is_allowed(word)) return {};
    if (word.empty())
        return base::fail(VMRPC_NOT_SUPPORTED,
                          fmt::format("this system makes no huge pages of shared memory: it has no {}; choose hugetlb, "
                                      "or do without huge_pages",
                                      file));
    return base::fail(VMRPC_NOT_SUPPORTED,
                      fmt::format("this system makes no huge pages of shared memory: {} is \"{}\"; set it to advise, "
                                  "choose hugetlb, or do without huge_pages",
                                  file, word));
}

base::Status advise_transparent(std::byte* base, std::uint64_t bytes) {
    if (::madvise(base, bytes, MADV_HUGEPAGE) == 0) return {};
    return base::fail(VMRPC_NOT_SUPPORTED,
                      fmt::format("the system takes no advice to use huge pages for {} bytes at {}: {}; do without "
                                  "huge_pages",
                                  bytes, fmt::ptr(base), std::generic_category().message(errno)));
}

}  // namespace vmrpc::transport
