// Huge pages of the system, for as long as the benchmark runs.
#pragma once

#include <cstdint>
#include <string>

namespace vmrpc::bench {

inline constexpr std::uint64_t kHugePageBytes = 2 << 20;

/// What the system has of them for whoever asks; reserved ones are somebody else's.
std::uint64_t free_huge_page_bytes();

/// Raises vm.nr_hugepages until so many bytes of them are free, and restores it.
class HugePages {
  public:
    explicit HugePages(std::uint64_t wanted_bytes);
    HugePages(const HugePages&) = delete;
    HugePages& operator=(const HugePages&) = delete;
    ~HugePages();

    /// Why they are not there; empty if they are.
    [[nodiscard]] const std::string& why_not() const { return why_not_; }

  private:
    std::string before_;  // what is to be restored; empty: nothing was changed
    std::string why_not_;
};

}  // namespace vmrpc::bench
