#include "notify/pause.hpp"

#if defined(__x86_64__)
#include <cpuid.h>

#include <array>
#include <cstring>
#endif

namespace vmrpc::notify {

#if defined(__x86_64__)

// Leaf 1 says whether there is a hypervisor, leaf 0x40000000 its name: in EBX, ECX, EDX.
bool find_whether_emulated() noexcept {
    constexpr unsigned kHypervisorLeaf = 0x4000'0000;
    unsigned eax = 0;
    std::array<unsigned, 3> words{};
    if (__get_cpuid(1, &eax, words.data(), &words[1], &words[2]) == 0 || (words[1] >> 31) == 0) return false;
    __cpuid(kHypervisorLeaf, eax, words[0], words[1], words[2]);
    return std::memcmp(words.data(), "TCGTCGTCGTCG", sizeof words) == 0;
}

#else

bool find_whether_emulated() noexcept {
    return false;
}

#endif

}  // namespace vmrpc::notify
