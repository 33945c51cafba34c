// The guest's end, with a folder in place of sysfs: finding the device, and connecting through it.
#include "unit/ivshmem_fake_qemu.hpp"

#include <sys/wait.h>

#include <atomic>
#include <cstdlib>
#include <fstream>
#include <thread>

namespace vmrpc::transport::vm {
namespace {

using conformance::ClientEnd;

class IvshmemConnect : public testing::Test {
  protected:
    IvshmemConnect() { ::setenv("VMRPC_PCI_DEVICES_FOR_TESTS", folder_.path().c_str(), 1); }
    ~IvshmemConnect() override { ::unsetenv("VMRPC_PCI_DEVICES_FOR_TESTS"); }

    void write(const std::string& path, const std::string& text) const {
        std::ofstream(folder_.path() + "/" + path) << text;
    }
    /// A device with this memory; `registers` is BAR 0.
    void add_device(const std::string& address, const std::string& memory, const std::string& registers,
                    const std::string& device = "0x1110") const {
        const std::filesystem::path folder = folder_.path() + "/" + address;
        std::filesystem::create_directory(folder);
        write(address + "/vendor", "0x1af4\n");
        write(address + "/device", device + "\n");
        write(address + "/enable", "0\n");
        write(address + "/resource", "0x00000000febf1000 0x00000000febf10ff 0x0000000000040200\n");
        std::filesystem::create_symlink(memory, folder / "resource2");
        std::filesystem::create_symlink(registers, folder / "resource0");
    }
    void add_file(const std::string& name, std::uintmax_t bytes) const {
        write(name, "");
        std::filesystem::resize_file(folder_.path() + "/" + name, bytes);
    }
    void add_plain(const std::string& address, std::uintmax_t bytes) const {
        add_file("memory" + address.substr(8), bytes);
        add_file("registers" + address.substr(8), 4096);
        add_device(address, folder_.path() + "/memory" + address.substr(8),
                   folder_.path() + "/registers" + address.substr(8));
    }
    void expect_error(vmrpc_status status, const std::string& text, const std::string& address = "") {
        ClientEnd client;
        const auto link = Ivshmem::connect({address, {}, base::Deadline::in(conformance::kWatchdogNs)}, client);
        ASSERT_FALSE(link);
        EXPECT_EQ(link.error().status, status) << link.error().text;
        EXPECT_NE(link.error().text.find(text), std::string::npos) << link.error().text;
    }

    TestFolder folder_;
};

TEST_F(IvshmemConnect, NoDevice) {
    expect_error(VMRPC_NO_SERVER, "-device ivshmem-doorbell");
    expect_error(VMRPC_NO_SERVER, "no such PCI device", "0000:00:05.0");
}

TEST_F(IvshmemConnect, SeveralDevicesAreListed) {
    add_plain("0000:00:06.0", 4096);
    add_plain("0000:00:05.0", 4096);
    expect_error(VMRPC_BAD_ADDRESS, "ivshmem:0000:00:05.0, ivshmem:0000:00:06.0");
}

TEST_F(IvshmemConnect, WhatIsNoAddress) {
    for (const std::string address : {"/run/a.sock", "5", "0000:00:05.0x", "0000:00:zz.0", "0000:00:05"})
        expect_error(VMRPC_BAD_ADDRESS, "PCI address", address);
}

TEST_F(IvshmemConnect, AnotherKindOfDevice) {
    add_device("0000:00:05.0", "/dev/null", "/dev/null", "0x1000");
    expect_error(VMRPC_NOT_VMRPC, "no ivshmem device", "0000:00:05.0");
    expect_error(VMRPC_NO_SERVER, "no ivshmem device");
}

TEST_F(IvshmemConnect, ADeviceThatIsNotOurs) {
    add_plain("0000:00:05.0", 1 << 20);
    expect_error(VMRPC_NOT_VMRPC, "another program");
}

TEST_F(IvshmemConnect, ADeviceThatIsTooSmall) {
    add_plain("0000:00:05.0", 4096);
    expect_error(VMRPC_NOT_VMRPC, "4096 bytes");
}

TEST_F(IvshmemConnect, ADeviceWithoutADoorbell) {
    add_plain("0000:00:05.0", 1 << 20);
    std::filesystem::remove(folder_.path() + "/0000:00:05.0/resource0");
    expect_error(VMRPC_NOT_VMRPC, "ivshmem-doorbell");
}

TEST_F(IvshmemConnect, NotPermitted) {
    add_plain("0000:00:05.0", 1 << 20);
    ::chmod((folder_.path() + "/memory00:05.0").c_str(), 0600);
    ::chmod((folder_.path() + "/memory05.0").c_str(), 0600);
    const pid_t child = ::fork();
    if (child == 0) {
        if (::geteuid() == 0 && ::setuid(65534) != 0) ::_exit(3);
        for (const auto& file : std::filesystem::directory_iterator(folder_.path())) ::chmod(file.path().c_str(), 0);
        ClientEnd client;
        const auto link = Ivshmem::connect({"", {}, base::Deadline::in(1'000'000'000)}, client);
        const bool told = !link && link.error().status == VMRPC_NOT_PERMITTED &&
                          link.error().text.find("run as root") != std::string::npos;
        ::_exit(told ? 0 : 1);
    }
    int status = -1;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
}

/// A server, and a device whose doorbell this process carries over to the server's eventfds.
class IvshmemLoop : public IvshmemConnect {
  protected:
    IvshmemLoop() {
        listener_ = listen_at(server_folder_, server_);
        qemu_ = std::make_unique<FakeQemu>(server_folder_.socket());
        qemu_->start();
        add_file("registers", 4096);
        const auto fd = std::to_string(qemu_->memory());
        add_device("0000:00:05.0", "/proc/" + std::to_string(::getpid()) + "/fd/" + fd, folder_.path() + "/registers");
        const base::Fd file(::open((folder_.path() + "/registers").c_str(), O_RDWR | O_CLOEXEC));
        registers_ = static_cast<std::byte*>(::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0));
        // The value 0 rings vector 0, so that a register that was seen is set to what nobody writes.
        doorbell().store(kNothing);
        pump_ = std::thread([this] {
            while (!ended_) {
                const std::uint32_t value = doorbell().exchange(kNothing);
                // Two that ring at once would overwrite each other here, as they do not in a device: ring both.
                if (value != kNothing) {
                    qemu_->ring(kRequestVector);
                    qemu_->ring(kDirectoryVector);
                }
                ::usleep(100);
            }
        });
    }
    ~IvshmemLoop() override {
        ended_ = true;
        pump_.join();
        ::munmap(registers_, 4096);
    }
    std::unique_ptr<ClientLink> join(ClientEnd& client, const Wishes& wishes = {}) {
        auto link = Ivshmem::connect({"", wishes, base::Deadline::in(conformance::kWatchdogNs)}, client);
        EXPECT_TRUE(link) << link.error().text;
        return link ? std::move(*link) : nullptr;
    }

    TestFolder server_folder_;
    ServerEnd server_;
    std::unique_ptr<Listener> listener_;
    std::unique_ptr<FakeQemu> qemu_;

  private:
    static constexpr std::uint32_t kNothing = 0xffff'ffff;
    std::atomic<std::uint32_t>& doorbell() {
        return *reinterpret_cast<std::atomic<std::uint32_t>*>(registers_ + kDoorbellOffset);
    }
    std::byte* registers_ = nullptr;
    std::atomic<bool> ended_{false};
    std::thread pump_;
};

TEST_F(IvshmemLoop, BothSidesSeeEachOthersBytes) {
    using layout::Side;
    ClientEnd client;
    const auto link = join(client);
    ASSERT_TRUE(link != nullptr && server_.link() != nullptr);
    conformance::word(*link, Side::kClient).store_release(0x1122);
    EXPECT_EQ(conformance::word(*server_.link(), Side::kClient).load_acquire(), 0x1122U);
    // In one process the server's address is taken: pointers differ, and both sides know.
    EXPECT_EQ(link->plan().agreed_address, 0U);
    EXPECT_EQ(link->peer_segment_address(), reinterpret_cast<std::uint64_t>(server_.link()->segment()));
    EXPECT_EQ(server_.link()->peer_segment_address(), reinterpret_cast<std::uint64_t>(link->segment()));
}

TEST_F(IvshmemLoop, ARingEndsAWait) {
    ClientEnd client;
    const auto link = join(client);
    ASSERT_TRUE(link != nullptr && server_.link() != nullptr);
    const std::uint32_t seen = conformance::rung(*link).load_acquire();
    std::thread waiter([&] { link->wait(seen, {}); });
    ::usleep(20'000);
    server_.link()->ring();
    waiter.join();
    std::thread interrupted([&] { link->wait(conformance::rung(*link).load_acquire(), {}); });
    ::usleep(20'000);
    link->interrupt_wait();
    interrupted.join();
    link->wait(conformance::rung(*link).load_acquire(), base::Deadline::in(5'000'000));
}

TEST_F(IvshmemLoop, EntriesComeBackAndAreExhausted) {
    for (int round = 0; round < 3; ++round) {
        std::vector<std::unique_ptr<ClientEnd>> ends;
        std::vector<std::unique_ptr<ClientLink>> links;
        for (std::uint32_t i = 0; i < Ivshmem::kEntries; ++i) {
            ends.push_back(std::make_unique<ClientEnd>());
            links.push_back(join(*ends.back()));
            ASSERT_NE(links.back(), nullptr);
        }
        expect_error(VMRPC_OUT_OF_RESOURCES, "close a connection");
        links.clear();
        for (std::size_t i = 0; i < Ivshmem::kEntries; ++i) {
            const std::size_t number = static_cast<std::size_t>(round) * Ivshmem::kEntries + i;
            ASSERT_TRUE(wait_until([&] { return server_.losses(number) == 1; }));
            server_.drop(number);
        }
    }
}

TEST_F(IvshmemLoop, EndOfTheServerIsNoticedOnce) {
    ClientEnd client;
    const auto link = join(client);
    ASSERT_TRUE(link != nullptr && server_.link() != nullptr);
    std::thread waiter([&] {
        while (client.losses == 0) link->wait(conformance::rung(*link).load_acquire(), {});
    });
    listener_.reset();
    server_.drop();
    waiter.join();
    ::usleep(300'000);
    EXPECT_EQ(client.losses, 1);
    expect_error(VMRPC_NO_SERVER, "the server has ended");
}

TEST_F(IvshmemLoop, EndOfTheServerIsNoticedWithoutWaiting) {
    ClientEnd client;
    const auto link = join(client);
    ASSERT_TRUE(link != nullptr && server_.link() != nullptr);
    server_.drop();
    EXPECT_TRUE(wait_until([&] { return client.losses == 1; }));
}

TEST_F(IvshmemLoop, AServerThatDoesNotAnswerIsTimedOut) {
    listener_.reset();
    for (std::uint32_t i = 0; i < Ivshmem::kEntries; ++i)
        qemu_->entry(i).offer.state.store_release(static_cast<std::uint32_t>(layout::OfferState::kFree));
    ClientEnd client;
    const auto link = Ivshmem::connect({"", {}, base::Deadline::in(50'000'000)}, client);
    ASSERT_FALSE(link);
    EXPECT_EQ(link.error().status, VMRPC_TIMED_OUT);
    EXPECT_NE(link.error().text.find("vectors"), std::string::npos) << link.error().text;
}

TEST_F(IvshmemLoop, AnOfferThatCannotBeIsPoison) {
    listener_.reset();
    auto& offer = qemu_->entry(0).offer;
    for (const std::uint64_t offset : {std::uint64_t{1}, ~std::uint64_t{0xffff}, std::uint64_t{0}}) {
        offer.generation.store_relaxed(offer.generation.load_relaxed() + 1);
        offer.region_offset.store_relaxed(offset);
        offer.region_bytes.store_relaxed(1 << 20);
        offer.state.store_release(static_cast<std::uint32_t>(layout::OfferState::kFree));
        std::thread server([&] {
            wait_until(
                [&] { return qemu_->entry(0).claim.generation.load_acquire() == offer.generation.load_relaxed(); });
            offer.state.store_release(static_cast<std::uint32_t>(layout::OfferState::kOffered));
        });
        expect_error(VMRPC_POISONED, "cannot be");
        server.join();
    }
}

}  // namespace
}  // namespace vmrpc::transport::vm
