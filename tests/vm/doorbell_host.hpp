// The host's side of an ivshmem-doorbell device, as small as can be: no vmrpc server, only memory and eventfds.
#pragma once

#include "base/fd.hpp"
#include "transport/socket.hpp"

#include <gtest/gtest.h>

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

namespace vmrpc::vm {

inline constexpr std::uint32_t kDoorbellVectors = 4;
inline constexpr std::size_t kDoorbellMemoryBytes = 1 << 20;
inline constexpr std::int64_t kGuestPeer = 1;

/// Serves one device of one VM.
class DoorbellHost {
  public:
    explicit DoorbellHost(const std::string& path)
        : listener_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)),
          memory_(::memfd_create("doorbell", MFD_CLOEXEC)) {
        const auto address = transport::socket_address("test", path);
        EXPECT_EQ(::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address), 0);
        EXPECT_EQ(::listen(listener_.get(), 1), 0);
        EXPECT_EQ(::ftruncate(memory_.get(), kDoorbellMemoryBytes), 0);
        void* mapped = ::mmap(nullptr, kDoorbellMemoryBytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory_.get(), 0);
        EXPECT_NE(mapped, MAP_FAILED);
        words_ = static_cast<volatile std::uint64_t*>(mapped);
        for (auto& bell : bells_) bell = base::Fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
        for (auto& interrupt : interrupts_) interrupt = base::Fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
        thread_ = std::thread([this] { serve(); });
    }
    DoorbellHost(const DoorbellHost&) = delete;
    DoorbellHost& operator=(const DoorbellHost&) = delete;
    ~DoorbellHost() {
        ::shutdown(listener_.get(), SHUT_RDWR);  // ends accept
        thread_.join();
        ::munmap(const_cast<std::uint64_t*>(words_), kDoorbellMemoryBytes);
    }

    /// The device's memory.
    [[nodiscard]] volatile std::uint64_t* words() const { return words_; }
    /// Interrupts the guest.
    void kick(std::uint32_t vector) const {
        const std::uint64_t one = 1;
        EXPECT_EQ(::write(interrupts_[vector].get(), &one, sizeof one), 8);
    }
    /// How often the guest has rung; 0 if it does not within the limit.
    [[nodiscard]] std::uint64_t wait(std::uint32_t vector, std::chrono::milliseconds limit) const {
        pollfd watched{bells_[vector].get(), POLLIN, 0};
        std::uint64_t count = 0;
        if (::poll(&watched, 1, static_cast<int>(limit.count())) != 1) return 0;
        return ::read(bells_[vector].get(), &count, sizeof count) == 8 ? count : 0;
    }
    /// There and back so many times: how long each took, until one does not come back.
    [[nodiscard]] std::vector<std::chrono::nanoseconds> ping_pong(std::uint32_t vector, std::size_t times) const {
        std::vector<std::chrono::nanoseconds> durations;
        for (std::size_t i = 0; i < times; ++i) {
            const auto start = std::chrono::steady_clock::now();
            kick(vector);
            if (wait(vector, std::chrono::seconds(20)) != 1) break;
            durations.emplace_back(std::chrono::steady_clock::now() - start);
        }
        return durations;
    }

  private:
    void serve() {
        qemu_ = base::Fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
        if (!qemu_.valid()) return;
        send(0);
        send(kGuestPeer);
        send(-1, memory_.get());
        for (const auto& bell : bells_) send(0, bell.get());
        for (const auto& interrupt : interrupts_) send(kGuestPeer, interrupt.get());
    }
    void send(std::int64_t message, int descriptor = -1) const {
        const std::array<int, 1> descriptors{descriptor};
        const auto sent = transport::send_message(qemu_.get(), transport::bytes_of(message),
                                                  std::span(descriptors).first(descriptor < 0 ? 0 : 1));
        EXPECT_TRUE(sent) << sent.error().text;
    }

    base::Fd listener_;
    base::Fd memory_;
    base::Fd qemu_;
    std::array<base::Fd, kDoorbellVectors> bells_;       // the host's: peer 0
    std::array<base::Fd, kDoorbellVectors> interrupts_;  // the guest's
    volatile std::uint64_t* words_ = nullptr;
    std::thread thread_;
};

}  // namespace vmrpc::vm
