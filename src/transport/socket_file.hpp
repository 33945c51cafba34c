// The socket file of a server: found free or made free, bound, and removed in the end if it is still that server's.
#pragma once

#include "base/result.hpp"
#include "notify/fork_guard.hpp"

#include <sys/socket.h>
#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace vmrpc::transport {

/// A listening socket and its file.
class SocketFile {
  public:
    /// Binds and listens. Two servers that start at once exclude each other by a lock on the folder. Blocks for the
    /// file system, and up to 2 s for that lock. Errors: VMRPC_BAD_ADDRESS, VMRPC_ADDRESS_IN_USE (a server answers, or
    /// the file is no socket), VMRPC_NOT_PERMITTED, VMRPC_OUT_OF_RESOURCES.
    /// `scheme` is for messages, `type` that of the socket.
    static base::Result<SocketFile> open(const std::string& path, std::string_view scheme = "local",
                                         int type = SOCK_SEQPACKET);

    SocketFile() = default;
    SocketFile(SocketFile&&) = default;
    SocketFile& operator=(SocketFile&&) = delete;
    SocketFile(const SocketFile&) = delete;
    SocketFile& operator=(const SocketFile&) = delete;
    /// Removes the file, unless something else is there by now or this is a forked child.
    ~SocketFile();

    [[nodiscard]] int listening() const { return socket_.get(); }

  private:
    notify::GuardedFd socket_;
    notify::GuardedFd folder_;  // paths may be relative, and the process may move
    std::string name_;          // in the folder
    dev_t device_ = 0;
    ino_t inode_ = 0;
};

}  // namespace vmrpc::transport
