// What a VsockBackend has to do with, without any of it: a consumer that notes what it is told, a guest's memory, and
// the rings in it as their driver has them.
#pragma once

#include "base/fd.hpp"
#include "conformance/ends.hpp"
#include "transport/vm/vsock/vsock_backend.hpp"

#include <gtest/gtest.h>

#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace vmrpc::transport::vm::vsock {

using conformance::wait_until;

inline constexpr std::uint64_t kCid = 42;
inline constexpr std::uint32_t kRingSize = 16;
inline constexpr std::size_t kMemoryBytes = 1024 * 1024;
inline constexpr std::uint64_t kGuestBase = 0x4000'0000;
inline constexpr std::uint64_t kUserBase = 0x7f12'0000'0000;
inline constexpr Ports kPorts{.guest = 5000, .host = 1024};

inline std::span<const std::byte> bytes_of_text(const std::string& text) {
    return std::as_bytes(std::span(text));
}

/// Notes what it is told. By default everybody is let in, and what comes is done with at once.
class Recorder : public VsockEvents {
  public:
    bool opened(StreamId stream, std::uint32_t guest_port, std::uint32_t host_port) override {
        EXPECT_TRUE(notify::on_housekeeping_thread());
        std::function<void()> also;
        {
            const std::lock_guard lock(mutex_);
            also = on_opened_;
        }
        if (also) also();
        const std::lock_guard lock(mutex_);
        order_.push_back(stream);
        streams_[stream].ports = {.guest = guest_port, .host = host_port};
        return !refuses;
    }
    std::size_t received(StreamId stream, std::span<const std::byte> bytes) override {
        if (is_slow) ::usleep(500);
        const std::lock_guard lock(mutex_);
        EXPECT_EQ(streams_[stream].closed, 0);
        streams_[stream].text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
        return holds_back ? 0 : bytes.size();
    }
    void sendable(StreamId stream) override {
        const std::lock_guard lock(mutex_);
        ++streams_[stream].sendable;
    }
    void closed(StreamId stream) override {
        const std::lock_guard lock(mutex_);
        ++streams_[stream].closed;
    }
    void ended() override { ++ends; }

    /// Waits for the stream that was opened as the nth.
    StreamId stream(std::size_t number = 0) {
        EXPECT_TRUE(wait_until([&] {
            const std::lock_guard lock(mutex_);
            return order_.size() > number;
        }));
        const std::lock_guard lock(mutex_);
        return order_.size() > number ? order_[number] : StreamId{};
    }
    Ports ports(StreamId stream) { return get(stream).ports; }
    std::string text(StreamId stream) { return get(stream).text; }
    int sendable_count(StreamId stream) { return get(stream).sendable; }
    int closed_count(StreamId stream) { return get(stream).closed; }
    std::size_t opened_count() {
        const std::lock_guard lock(mutex_);
        return order_.size();
    }
    bool comes(StreamId stream, const std::string& text) {
        return wait_until([&] { return this->text(stream) == text; });
    }
    bool is_told_of_end(StreamId stream) {
        return wait_until([&] { return closed_count(stream) == 1; });
    }

    /// What the next opened() also does.
    void set_on_opened(std::function<void()> also) {
        const std::lock_guard lock(mutex_);
        on_opened_ = std::move(also);
    }
    std::atomic<bool> refuses{false};
    std::atomic<bool> holds_back{false};
    std::atomic<bool> is_slow{false};
    std::atomic<int> ends{0};

  private:
    struct State {
        Ports ports;
        std::string text;
        int sendable = 0;
        int closed = 0;
    };
    State get(StreamId stream) {
        const std::lock_guard lock(mutex_);
        return streams_[stream];
    }

    std::mutex mutex_;
    std::function<void()> on_opened_;  // under mutex_
    std::map<StreamId, State> streams_;
    std::vector<StreamId> order_;
};

/// The guest's memory, as QEMU has it: one file, mapped here.
class FakeMemory {
  public:
    explicit FakeMemory(std::size_t bytes = kMemoryBytes) : file_(::memfd_create("guest", MFD_CLOEXEC)), bytes_(bytes) {
        EXPECT_EQ(::ftruncate(file_.get(), static_cast<off_t>(bytes)), 0);
        void* mapped = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file_.get(), 0);
        EXPECT_NE(mapped, MAP_FAILED);
        base_ = static_cast<std::byte*>(mapped);
    }
    FakeMemory(const FakeMemory&) = delete;
    FakeMemory& operator=(const FakeMemory&) = delete;
    ~FakeMemory() { ::munmap(base_, bytes_); }

    [[nodiscard]] int file() const { return file_.get(); }
    [[nodiscard]] std::byte* at(std::size_t offset) const { return base_ + offset; }
    [[nodiscard]] MemoryRegion region() const {
        return {.guest_address = kGuestBase, .bytes = bytes_, .user_address = kUserBase, .file_offset = 0};
    }

  private:
    base::Fd file_;
    std::size_t bytes_;
    std::byte* base_ = nullptr;
};

/// A ring as its driver has it. Descriptors, then what is available, then what is used, at fixed places in the memory.
class FakeRing {
  public:
    static constexpr std::size_t kAreaBytes = 0x4000;
    static constexpr std::size_t kAvailable = 0x1000;
    static constexpr std::size_t kUsed = 0x2000;

    FakeRing(const FakeMemory& memory, std::uint32_t index)
        : memory_(memory),
          area_(index * kAreaBytes),
          kick_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
          call_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

    [[nodiscard]] RingAddress address(std::uint32_t index) const {
        return {.index = index,
                .flags = 0,
                .descriptors = kUserBase + area_,
                .used = kUserBase + area_ + kUsed,
                .available = kUserBase + area_ + kAvailable,
                .log = 0};
    }
    void describe(std::uint32_t index, const Descriptor& descriptor) const {
        std::memcpy(memory_.at(area_ + index * sizeof descriptor), &descriptor, sizeof descriptor);
    }
    void offer(std::uint16_t head) {
        word(kAvailable + 4 + 2 * (available_ % kRingSize)).store(head, std::memory_order_relaxed);
        ++available_;
        publish(available_);
    }
    void publish(std::uint16_t index) const { word(kAvailable + 2).store(index, std::memory_order_release); }
    void kick() const {
        const std::uint64_t one = 1;
        EXPECT_EQ(::write(kick_.get(), &one, sizeof one), 8);
    }
    /// As a driver does: only if the device wants it.
    void kick_if_wanted() const {
        std::atomic_thread_fence(std::memory_order_seq_cst);
        if (word(kUsed).load(std::memory_order_relaxed) == 0) kick();
    }
    [[nodiscard]] std::uint16_t available() const { return available_; }
    [[nodiscard]] std::uint16_t used() const { return word(kUsed + 2).load(std::memory_order_acquire); }
    [[nodiscard]] std::pair<std::uint32_t, std::uint32_t> used_element(std::uint16_t number) const {
        std::array<std::uint32_t, 2> element{};
        std::memcpy(element.data(), memory_.at(area_ + kUsed + 4 + 8 * (number % kRingSize)), 8);
        return {element[0], element[1]};
    }
    void refuse_interrupts() const { word(kAvailable).store(1, std::memory_order_relaxed); }
    [[nodiscard]] int kick_descriptor() const { return kick_.get(); }
    [[nodiscard]] int call_descriptor() const { return call_.get(); }
    /// How often the guest was interrupted since it was last asked.
    [[nodiscard]] std::uint64_t interrupts() const {
        std::uint64_t count = 0;
        return ::read(call_.get(), &count, sizeof count) == 8 ? count : 0;
    }
    /// As a driver that begins anew.
    void clear() {
        std::memset(memory_.at(area_), 0, kAreaBytes);
        available_ = 0;
    }

  private:
    [[nodiscard]] std::atomic_ref<std::uint16_t> word(std::size_t offset) const {
        return std::atomic_ref(*reinterpret_cast<std::uint16_t*>(memory_.at(area_ + offset)));
    }

    const FakeMemory& memory_;
    std::size_t area_;
    base::Fd kick_;
    base::Fd call_;
    std::uint16_t available_ = 0;
};

}  // namespace vmrpc::transport::vm::vsock
