// Streams between a real guest's processes and this one, through QEMU's vhost-user-vsock-pci.
#include "conformance/ends.hpp"
#include "guest.hpp"
#include "transport/socket.hpp"
#include "transport/vm/vsock/vsock_backend.hpp"

#include <gtest/gtest.h>

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <atomic>
#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace vmrpc::vm {
namespace {

using namespace transport::vm::vsock;
using std::chrono::seconds;

constexpr std::uint32_t kRefusedPort = 1025;
constexpr std::uint32_t kVictimPort = 1026;
constexpr std::uint32_t kReportPort = 1027;
constexpr std::uint32_t kCountPort = 1028;

/// Where QEMU connects.
class Door {
  public:
    Door() : folder_("/tmp/vmrpc-test-XXXXXX") {
        EXPECT_NE(::mkdtemp(folder_.data()), nullptr);
        auto socket = transport::make_socket(SOCK_STREAM);
        EXPECT_TRUE(socket);
        socket_ = std::move(*socket);
        const auto address = transport::socket_address("vsock", path());
        EXPECT_TRUE(address);
        EXPECT_EQ(::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address), 0);
        EXPECT_EQ(::listen(socket_.get(), 1), 0);
    }
    Door(const Door&) = delete;
    Door& operator=(const Door&) = delete;
    ~Door() { std::filesystem::remove_all(folder_); }

    std::string path() const { return folder_ + "/vsock"; }
    /// Waits for the guest's QEMU; none if it ends before it comes.
    notify::GuardedFd accept(Guest& guest) const {
        pollfd poll{.fd = socket_.get(), .events = POLLIN, .revents = 0};
        while (::poll(&poll, 1, 100) == 0)
            if (guest.wait_for(std::chrono::milliseconds(0))) return {};
        return notify::GuardedFd::made_by(
            [&] { return ::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK); });
    }

  private:
    std::string folder_;
    notify::GuardedFd socket_;
};

/// Returns what it receives, however slowly that is read; reports the end of victims; refuses one port.
class EchoServer : public VsockEvents {
  public:
    void connect(notify::GuardedFd socket) {
        backend_ = std::make_shared<VsockBackend>(std::move(socket), 42, *this);
        const auto started = backend_->start();
        EXPECT_TRUE(started) << started.error().text;
    }
    ~EchoServer() override {
        if (backend_ != nullptr) backend_->stop();
    }

    bool opened(StreamId stream, std::uint32_t guest_port, std::uint32_t host_port) override {
        EXPECT_GE(guest_port, 1024U);
        if (host_port == kRefusedPort) {
            ++refusals;
            return false;
        }
        streams_[stream].port = host_port;
        most_streams = std::max(most_streams, streams_.size());
        const char count = static_cast<char>('0' + victims_);
        if (host_port == kCountPort) {
            EXPECT_TRUE(backend_->send(stream, std::as_bytes(std::span(&count, 1))));
        }
        return true;
    }
    std::size_t received(StreamId stream, std::span<const std::byte> bytes) override {
        auto& waiting = streams_[stream].waiting;
        waiting.insert(waiting.end(), bytes.begin(), bytes.end());
        pass_on(stream);
        return 0;
    }
    void sendable(StreamId stream) override { pass_on(stream); }
    void closed(StreamId stream) override {
        EXPECT_EQ(streams_.count(stream), 1U);
        const std::uint32_t port = streams_[stream].port;
        streams_.erase(stream);
        if (port != kVictimPort) return;
        ++victims_;
        for (const auto& [other, state] : streams_) {
            if (state.port != kReportPort) continue;
            EXPECT_TRUE(backend_->send(other, std::as_bytes(std::span("c", 1))));
        }
    }
    void ended() override {
        EXPECT_TRUE(streams_.empty());
        has_ended = true;
    }

    std::size_t most_streams = 0;
    int refusals = 0;
    std::atomic<bool> has_ended{false};

  private:
    struct State {
        std::uint32_t port = 0;
        std::vector<std::byte> waiting;
    };

    void pass_on(StreamId stream) {
        auto& waiting = streams_[stream].waiting;
        if (waiting.empty()) return;
        const std::size_t bytes = waiting.size();
        const auto sent = backend_->send(stream, waiting);
        if (!sent) {
            EXPECT_EQ(sent.error().status, VMRPC_BUSY) << sent.error().text;
            return;
        }
        waiting.clear();
        backend_->consumed(stream, bytes);
    }

    std::shared_ptr<VsockBackend> backend_;
    std::map<StreamId, State> streams_;
    int victims_ = 0;
};

GuestOptions guest_with(const std::string& socket) {
    GuestOptions options;
    options.modules = {"virtio_pci", "vmw_vsock_virtio_transport"};
    options.commands = {{{VSOCK_CLIENT}, false}, {{VSOCK_CLIENT, "restart-driver"}, false}};
    options.memory_mib = 256;
    options.qemu_args = {"-machine", "memory-backend=ram",
                         "-object",  "memory-backend-memfd,id=ram,size=256M,share=on",
                         "-chardev", "socket,id=vsock,path=" + socket,
                         "-device",  "vhost-user-vsock-pci,chardev=vsock"};
    options.limit = seconds(120);
    return options;
}

TEST(VsockVm, ProcessesOfAGuestTalkToTheHost) {
    const Door door;
    EchoServer server;
    Guest guest(guest_with(door.path()));
    auto socket = door.accept(guest);
    ASSERT_TRUE(socket.valid()) << guest.wait().message;
    server.connect(std::move(socket));
    const GuestResult result = guest.wait();
    EXPECT_TRUE(result.passed()) << to_string(result.outcome) << ": " << result.message << "\n" << guest.output();
    std::printf("%s%s\n", guest.output().c_str(), guest.accelerator().c_str());
    EXPECT_TRUE(transport::conformance::wait_until([&] { return server.has_ended.load(); }));
    EXPECT_EQ(server.refusals, 1);
    EXPECT_GE(server.most_streams, 8U);
}

}  // namespace
}  // namespace vmrpc::vm
