// The pause between two looks of a spin loop.
#pragma once

#include "base/cpu.hpp"

namespace vmrpc::notify {

/// Whether this runs on a processor that QEMU emulates. To it PAUSE is a reason to leave the translated code for about
/// 220 ns, in which what is waited for may come.
bool find_whether_emulated() noexcept;
inline const bool is_emulated = find_whether_emulated();

inline void pause_between_looks() {
    if (!is_emulated) base::cpu_pause();
}

}  // namespace vmrpc::notify
