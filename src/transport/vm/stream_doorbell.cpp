#include "transport/vm/stream_doorbell.hpp"

#include "transport/vm/protocol.hpp"

#include <fmt/format.h>

#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <span>
#include <system_error>
#include <utility>

namespace vmrpc::transport::vm {
namespace {

class StreamDoorbell final : public Doorbell {
  public:
    StreamDoorbell(notify::GuardedFd stream, const std::optional<layout::Uuid>& segment)
        : stream_(std::move(stream)), is_socket_(is_socket(stream_.get())), segment_(segment) {}

    void ring(Vector vector) const noexcept override {
        const auto byte = static_cast<std::uint8_t>(vector);
        // What can fail: the server is gone, or so many rings wait that one more says nothing new.
        static_cast<void>(say(std::as_bytes(std::span(&byte, 1))));
    }
    base::Result<Interrupt> interrupt(std::uint32_t entry) override {
        const StreamHello hello{
            .magic = kStreamMagic, .entry = entry, .segment_uuid = segment_.value_or(layout::Uuid{})};
        if (segment_ && say(std::as_bytes(std::span(&hello, 1))) != sizeof hello)
            return base::fail_errno("cannot say to the host which process this is", errno);
        Interrupt interrupt{notify::GuardedFd::made_by([this] { return ::fcntl(stream_.get(), F_DUPFD_CLOEXEC, 0); }),
                            kRungByStream};
        if (!interrupt.descriptor.valid()) return base::fail_errno("no descriptor is left for a doorbell", errno);
        return interrupt;
    }
    [[nodiscard]] base::FilePlace registers() const override { return -1; }
    [[nodiscard]] std::uint64_t register_offset() const override { return 0; }

  private:
    static bool is_socket(int stream) {
        struct stat status {};
        return ::fstat(stream, &status) == 0 && S_ISSOCK(status.st_mode);
    }
    /// A port raises no signal, and was opened so that it does not block.
    [[nodiscard]] ssize_t say(std::span<const std::byte> bytes) const noexcept {
        return is_socket_ ? ::send(stream_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT)
                          : ::write(stream_.get(), bytes.data(), bytes.size());
    }

    notify::GuardedFd stream_;
    bool is_socket_;
    std::optional<layout::Uuid> segment_;  // none: no hello is to be said
};

tl::unexpected<base::Error> cannot_connect(int error) {
    if (error == EAFNOSUPPORT)
        return base::fail(VMRPC_NOT_SUPPORTED, "this kernel has no AF_VSOCK: load vmw_vsock_virtio_transport");
    return base::fail(VMRPC_NO_SERVER,
                      fmt::format("no service of the host's answers over vsock ({}): give the VM a vhost-user-vsock "
                                  "device (`vmrpc qemu-args`), and start the service",
                                  std::generic_category().message(error)));
}

/// What has become of a connect() that was on its way; 0: it is there.
int wait_connected(int socket, base::Deadline deadline) {
    pollfd watched{socket, POLLOUT, 0};
    const std::int64_t most_ns = deadline.is_never() ? -1'000'000 : std::max<std::int64_t>(0, deadline.remaining_ns());
    const int ready = ::poll(&watched, 1, static_cast<int>(std::min<std::int64_t>(most_ns / 1'000'000, 10'000)));
    if (ready == 0) return ETIMEDOUT;
    int error = ready < 0 ? errno : 0;
    socklen_t bytes = sizeof error;
    if (ready > 0) ::getsockopt(socket, SOL_SOCKET, SO_ERROR, &error, &bytes);
    return error;
}

}  // namespace

base::Result<notify::GuardedFd> open_stream(base::Deadline deadline) {
    auto socket =
        notify::GuardedFd::made_by([] { return ::socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0); });
    if (!socket.valid()) return cannot_connect(errno);
    sockaddr_vm address{};
    address.svm_family = AF_VSOCK;
    address.svm_cid = VMADDR_CID_HOST;
    address.svm_port = kVsockPort;
    int error = ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 ? 0 : errno;
    if (error == EINPROGRESS) error = wait_connected(socket.get(), deadline);
    if (error == ETIMEDOUT) return base::fail(VMRPC_TIMED_OUT, "the host does not answer over vsock");
    if (error != 0) return cannot_connect(error);
    return socket;
}

base::Result<std::unique_ptr<Doorbell>> open_stream_doorbell(const layout::Uuid& segment, base::Deadline deadline) {
    auto stream = open_stream(deadline);
    if (!stream) return tl::unexpected(std::move(stream).error());
    return std::make_unique<StreamDoorbell>(std::move(*stream), segment);
}

std::unique_ptr<Doorbell> make_stream_doorbell(notify::GuardedFd stream, const std::optional<layout::Uuid>& segment) {
    return std::make_unique<StreamDoorbell>(std::move(stream), segment);
}

}  // namespace vmrpc::transport::vm
