// Huge pages of 2 MiB: of the system's pool (hugetlb), or what the system makes of ordinary memory (transparent).
#pragma once

#include "base/result.hpp"
#include "layout/region.hpp"

#include <vmrpc/vmrpc.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

namespace vmrpc::transport {

inline constexpr std::uint64_t kHugePageBytes = std::uint64_t{2} * 1024 * 1024;

/// The flag of a region's plan that says which of them its memory is made of.
constexpr std::uint32_t region_flag_of(vmrpc_huge_pages kind) {
    switch (kind) {
        case VMRPC_HUGE_PAGES_HUGETLB:
            return layout::kRegionHugetlb;
        case VMRPC_HUGE_PAGES_TRANSPARENT:
            return layout::kRegionTransparent;
        default:
            return 0;
    }
}

/// What the pool has, as sysfs says; nothing if there is no such pool.
[[nodiscard]] std::optional<std::uint64_t> free_huge_pages();
/// Whether a memfd's memory is of the pool.
[[nodiscard]] bool is_hugetlb(int descriptor);

/// The word in brackets, which is how the files of sysfs say what is chosen; empty if there is none.
[[nodiscard]] std::string chosen_word(const std::string& words);
/// Whether the system makes huge pages of shared memory where it is advised to. Errors: VMRPC_NOT_SUPPORTED, with the
/// file that says otherwise, and what it says.
[[nodiscard]] base::Status check_transparent();
/// Advises the system to back a mapped range with huge pages, where it has them when the range is touched or committed
/// through this mapping. Errors: VMRPC_NOT_SUPPORTED.
[[nodiscard]] base::Status advise_transparent(std::byte* base, std::uint64_t bytes);

}  // namespace vmrpc::transport
