// QEMU as a child process that cannot outlive this one.
#pragma once

#include <sys/types.h>

#include <string>
#include <utility>
#include <vector>

namespace vmrpc::vm {

// Owns a descriptor.
class Descriptor {
  public:
    explicit Descriptor(int fd = -1) : fd_(fd) {}
    ~Descriptor();
    Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    Descriptor& operator=(Descriptor&& other) noexcept {
        std::swap(fd_, other.fd_);
        return *this;
    }
    int get() const { return fd_; }
    void reset() { Descriptor{std::move(*this)}; }

  private:
    int fd_;
};

struct QemuProcess {
    pid_t pid = -1;
    Descriptor pidfd;    // readable when it has ended
    Descriptor output;   // these three are not blocking: its standard output (the guest's console),
    Descriptor errors;   // its standard error,
    Descriptor report;   // and what guest_init says to the harness
    Descriptor control;  // blocking: a socket to its QMP
};

// Starts args[0] with `initramfs` as kInitramfsFd. It is killed when the *thread* that called this ends, so that thread
// must stay until the process has ended. Throws std::system_error.
QemuProcess start_qemu(const std::vector<std::string>& args, int initramfs);

// SIGKILL; nothing happens if the process has ended.
void kill_process(const Descriptor& pidfd);

}  // namespace vmrpc::vm
