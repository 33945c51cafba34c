// What QEMU and a guest do at the server's socket, without either: connects, takes memory and eventfds, and plays a
// guest's process in the memory.
#pragma once

#include "base/fd.hpp"
#include "conformance/ends.hpp"
#include "transport/vm/protocol.hpp"
#include "transport/vm/transports.hpp"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace vmrpc::transport::vm {

using conformance::ServerEnd;
using conformance::wait_until;

/// A folder that is removed, with others' access to it.
class TestFolder {
  public:
    TestFolder() : path_("/tmp/vmrpc-test-XXXXXX") {
        EXPECT_NE(::mkdtemp(path_.data()), nullptr);
        ::chmod(path_.c_str(), 0755);
    }
    TestFolder(const TestFolder&) = delete;
    TestFolder& operator=(const TestFolder&) = delete;
    ~TestFolder() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    [[nodiscard]] const std::string& path() const { return path_; }
    [[nodiscard]] std::string socket() const { return path_ + "/iv.sock"; }

  private:
    std::string path_;
};

class FakeQemu {
  public:
    struct Message {
        std::int64_t value = 0;
        base::Fd descriptor;
    };

    explicit FakeQemu(const std::string& path) : socket_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        path.copy(address.sun_path, sizeof address.sun_path - 1);
        EXPECT_EQ(::connect(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    }
    FakeQemu(const FakeQemu&) = delete;
    FakeQemu& operator=(const FakeQemu&) = delete;
    ~FakeQemu() {
        if (memory_ != nullptr) ::munmap(memory_, bytes_);
    }

    /// Blocks for one message of 8 bytes.
    [[nodiscard]] Message receive() const {
        Message message;
        alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))]{};
        iovec part{&message.value, sizeof message.value};
        msghdr header{};
        header.msg_iov = &part;
        header.msg_iovlen = 1;
        header.msg_control = control;
        header.msg_controllen = sizeof control;
        EXPECT_EQ(::recvmsg(socket_.get(), &header, MSG_CMSG_CLOEXEC), 8);
        if (const cmsghdr* rights = CMSG_FIRSTHDR(&header); rights != nullptr) {
            int descriptor = -1;
            std::memcpy(&descriptor, CMSG_DATA(rights), sizeof descriptor);
            message.descriptor = base::Fd(descriptor);
        }
        return message;
    }
    /// Takes the whole hand-shake, and maps the memory.
    void start() {
        for (auto& message : messages_) message = receive();
        struct stat status {};
        ASSERT_EQ(::fstat(memory(), &status), 0);
        bytes_ = static_cast<std::size_t>(status.st_size);
        void* mapped = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, memory(), 0);
        ASSERT_NE(mapped, MAP_FAILED);
        memory_ = static_cast<std::byte*>(mapped);
    }
    [[nodiscard]] const std::vector<Message>& messages() const { return messages_; }
    [[nodiscard]] int socket() const { return socket_.get(); }
    [[nodiscard]] int memory() const { return messages_[2].descriptor.get(); }
    [[nodiscard]] std::byte* base() const { return memory_; }
    [[nodiscard]] std::size_t bytes() const { return bytes_; }
    [[nodiscard]] layout::DirectoryEntry& entry(std::uint32_t index) const { return directory_entry(memory_, index); }

    void ring(Vector vector) const {
        const std::uint64_t one = 1;
        EXPECT_EQ(::write(messages_[3 + vector].descriptor.get(), &one, sizeof one), 8);
    }
    /// As a guest's process claims, with what is usual; `change` may make it unusual.
    template <class Change>
    void claim(std::uint32_t index, const Change& change) const {
        auto& [offer, claim] = entry(index);
        claim.generation.store_relaxed(offer.generation.load_relaxed());
        claim.pid.store_relaxed(42);
        claim.page_bytes.store_relaxed(4096);
        claim.flags.store_relaxed(0);
        claim.address.store_relaxed(offer.agreed_address.load_relaxed());
        change(claim);
        say(index, layout::ClaimState::kClaimed);
    }
    void claim(std::uint32_t index) const {
        claim(index, [](layout::DirectoryClaim&) {});
    }
    void say(std::uint32_t index, layout::ClaimState state) const {
        entry(index).claim.state.store_release(static_cast<std::uint32_t>(state));
        ring(kDirectoryVector);
    }
    [[nodiscard]] layout::OfferState state(std::uint32_t index) const {
        return static_cast<layout::OfferState>(entry(index).offer.state.load_acquire());
    }
    [[nodiscard]] bool becomes(std::uint32_t index, layout::OfferState wanted) const {
        return wait_until([&] { return state(index) == wanted; });
    }
    /// Whether the server has closed the socket.
    [[nodiscard]] bool is_let_go() const {
        char byte = 0;
        return wait_until([&] { return ::recv(socket_.get(), &byte, 1, MSG_DONTWAIT) == 0; });
    }

  private:
    base::Fd socket_;
    std::vector<Message> messages_ = std::vector<Message>(3 + kVectors + vectors_for(Ivshmem::kEntries));
    std::byte* memory_ = nullptr;
    std::size_t bytes_ = 0;
};

inline std::unique_ptr<Listener> listen_at(const TestFolder& folder, ServerEnd& events, const Wishes& most = {},
                                           std::uint32_t max_connections = 0,
                                           std::int64_t read_limit_ns = Ivshmem::kReadLimitNs) {
    auto listener = Ivshmem::listen({folder.socket(), most, max_connections}, events, read_limit_ns);
    EXPECT_TRUE(listener) << listener.error().text;
    return listener ? std::move(*listener) : nullptr;
}

}  // namespace vmrpc::transport::vm
