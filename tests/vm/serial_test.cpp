// The virtio-serial port of a real guest, at whose other end this test is in place of a service.
#include "guest.hpp"
#include "host_support.hpp"
#include "transport/socket.hpp"
#include "transport/vm/ring_reader.hpp"

#include <gtest/gtest.h>

#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace vmrpc::vm {
namespace {

using transport::vm::RingReader;

constexpr std::uint32_t kEntries = 4;
const layout::Uuid kSegment{1, 2, 3};

/// Where QEMU connects the port, while this lives.
class Door {
  public:
    explicit Door(const std::string& path) : path_(path), socket_(*transport::make_socket(SOCK_STREAM)) {
        const auto address = transport::socket_address("vm", path);
        EXPECT_EQ(::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address), 0);
        EXPECT_EQ(::listen(socket_.get(), 1), 0);
    }
    Door(const Door&) = delete;
    Door& operator=(const Door&) = delete;
    ~Door() { std::filesystem::remove(path_); }
    notify::GuardedFd accept() const {
        pollfd watched{socket_.get(), POLLIN, 0};
        EXPECT_EQ(::poll(&watched, 1, 120'000), 1);
        return notify::GuardedFd::made_by(
            [&] { return ::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK); });
    }

  private:
    std::string path_;
    notify::GuardedFd socket_;
};

/// Reads until a process has said who it is, and has rung for a call.
class Listening {
  public:
    explicit Listening(int port) : port_(port) {}
    [[nodiscard]] bool hears_call_of(std::uint32_t entry) {
        bool is_known = false;
        for (;;) {
            const auto heard = reader_.take(next());
            if (heard.bytes == 0) return false;
            is_known |= heard.entry == entry;
            if (is_known && heard.requests) return true;
        }
    }

  private:
    std::span<const std::byte> next() {
        pollfd watched{port_, POLLIN, 0};
        if (::poll(&watched, 1, 120'000) != 1) return {};
        const ssize_t count = ::read(port_, bytes_.data(), bytes_.size());
        return std::span(bytes_).first(count > 0 ? static_cast<std::size_t>(count) : 0);
    }

    int port_;
    std::array<std::byte, 4096> bytes_{};
    RingReader reader_{kSegment, kEntries};
};

bool send_rings(int port, std::size_t count, char ring) {
    const std::string rings(count, ring);
    return ::send(port, rings.data(), rings.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(count);
}

TEST(VmSerial, APortServesOneProcessAfterTheOther) {
    const Folder folder;
    const std::string path = folder.path() + "/port";
    std::optional<Door> door(path);
    GuestOptions options;
    options.ports = {{"vmrpc.0", "socket,reconnect=1,path=" + path}};
    options.commands = {{{SERIAL_CLIENT}, false}};
    options.limit = seconds(240);
    Guest guest{options};
    auto port = door->accept();
    ASSERT_TRUE(port.valid()) << guest.output();
    Listening listening(port.get());
    ASSERT_TRUE(listening.hears_call_of(2)) << guest.output();
    ASSERT_TRUE(send_rings(port.get(), 1, 9));
    ASSERT_TRUE(guest.wait_for_line(std::regex("^killed"), seconds(120))) << guest.output();
    // Nobody has the port; whoever has it next finds these first.
    ASSERT_TRUE(send_rings(port.get(), 10'000, 0));
    ASSERT_TRUE(listening.hears_call_of(2)) << guest.output();
    ASSERT_TRUE(send_rings(port.get(), 1, 9));
    ASSERT_TRUE(guest.wait_for_line(std::regex("^end it"), seconds(120))) << guest.output();
    door.reset();
    port.reset();
    ASSERT_TRUE(guest.wait_for_line(std::regex("^it has ended"), seconds(120))) << guest.output();
    ASSERT_TRUE(guest.wait_for_line(std::regex("^silent"), seconds(120))) << guest.output();
    const Door again(path);
    const auto next = again.accept();
    const auto result = guest.wait();
    ASSERT_EQ(result.outcome, Outcome::kExited) << result.message << "\n" << guest.output();
    EXPECT_EQ(result.statuses.at(0).as_shell(), 0) << guest.output();
}

}  // namespace
}  // namespace vmrpc::vm
