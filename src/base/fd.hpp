// An owned file descriptor, and a place in a file.
#pragma once

#include <unistd.h>

#include <cstdint>
#include <utility>

namespace vmrpc::base {

/// Owns one descriptor and closes it; move-only. -1 is "none".
class Fd {
  public:
    Fd() = default;
    explicit Fd(int descriptor) : descriptor_(descriptor) {}
    Fd(Fd&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
    Fd& operator=(Fd&& other) noexcept {
        reset(std::exchange(other.descriptor_, -1));
        return *this;
    }
    Fd(const Fd&) = delete;
    Fd& operator=(const Fd&) = delete;
    ~Fd() { reset(); }

    [[nodiscard]] int get() const { return descriptor_; }
    [[nodiscard]] bool valid() const { return descriptor_ >= 0; }
    [[nodiscard]] int release() { return std::exchange(descriptor_, -1); }
    void reset(int descriptor = -1) {
        if (descriptor_ >= 0) ::close(descriptor_);
        descriptor_ = descriptor;
    }

  private:
    int descriptor_ = -1;
};

/// Where something begins in a file. Does not own the descriptor.
struct FilePlace {
    FilePlace(int file, std::uint64_t offset_bytes = 0)  // NOLINT(google-explicit-constructor): most begin at 0
        : descriptor(file), offset(offset_bytes) {}
    int descriptor;
    std::uint64_t offset;  // bytes
};

}  // namespace vmrpc::base
