// Locks on single bytes of a file that the processes of one domain have open, each for itself: the kernel gives them
// back when the file is closed, whatever ends the process.
#pragma once

#include "base/clock.hpp"
#include "base/result.hpp"
#include "layout/segment.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>

namespace vmrpc::transport::vm {

/// The byte that is locked while somebody claims an entry or looks for a doorbell: behind those of the entries.
inline constexpr std::uint32_t kClaimingByte = layout::kMaxDirectoryEntries;

/// F_WRLCK or F_UNLCK. Does not block. False, with errno: not done.
inline bool lock_byte(int file, std::uint32_t byte, short type) {
    struct flock lock {};
    lock.l_type = type;
    lock.l_whence = SEEK_SET;
    lock.l_start = static_cast<off_t>(byte);
    lock.l_len = 1;
    return ::fcntl(file, F_OFD_SETLK, &lock) == 0;
}

/// Sleeps that double, from 10 us to 1 ms, for what nobody tells of.
class Patience {
  public:
    explicit Patience(base::Deadline deadline) : deadline_(deadline) {}
    /// False: the deadline has passed.
    bool wait() {
        if (deadline_.passed()) return false;
        ::usleep(next_us_);
        next_us_ = std::min<useconds_t>(2 * next_us_, 1'000);
        return true;
    }

  private:
    base::Deadline deadline_;
    useconds_t next_us_ = 10;
};

/// Excludes the other processes of this domain, and this one's other opened files, while it lives.
class ClaimingLock {
  public:
    /// Blocks until the lock is there: false if that is not until the deadline. Errors: those of the system.
    static base::Result<bool> take(int file, base::Deadline deadline) {
        Patience patience(deadline);
        while (!lock_byte(file, kClaimingByte, F_WRLCK)) {
            if (errno != EAGAIN && errno != EACCES && errno != EINTR)
                return base::fail_errno("cannot lock the device", errno);
            if (!patience.wait()) return false;
        }
        return true;
    }
    /// Gives back what take() took.
    explicit ClaimingLock(int file) : file_(file) {}
    ClaimingLock(const ClaimingLock&) = delete;
    ClaimingLock& operator=(const ClaimingLock&) = delete;
    ~ClaimingLock() { lock_byte(file_, kClaimingByte, F_UNLCK); }

  private:
    int file_;
};

}  // namespace vmrpc::transport::vm
