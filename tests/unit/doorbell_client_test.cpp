// A process's end of the doorbell: against the real broker, which has no device here, and against what is no broker.
#include "transport/socket.hpp"
#include "transport/vm/doorbell/guest_doorbell.hpp"
#include "unit/doorbell_places.hpp"

#include <sys/mman.h>
#include <sys/socket.h>

#include <atomic>
#include <cstdlib>
#include <functional>
#include <thread>
#include <vector>

namespace vmrpc::doorbell_test {
namespace {

using namespace transport::vm;  // NOLINT(google-build-using-namespace)

constexpr std::int64_t kLimitNs = 20'000'000'000;

class DoorbellClient : public testing::Test {
  protected:
    DoorbellClient() { ::setenv("VMRPC_DOORBELL", VMRPC_TEST_DOORBELL, 1); }
    ~DoorbellClient() override { ::unsetenv("VMRPC_DOORBELL"); }

    static void expect_error(vmrpc_status status, const std::string& text, const std::string& address = own_address(),
                             std::int64_t limit_ns = kLimitNs) {
        const auto doorbell = GuestDoorbell::open(address, -1, base::Deadline::in(limit_ns));
        ASSERT_FALSE(doorbell);
        EXPECT_EQ(doorbell.error().status, status) << doorbell.error().text;
        EXPECT_NE(doorbell.error().text.find(text), std::string::npos) << doorbell.error().text;
    }
};

TEST_F(DoorbellClient, WhatIsNoAddress) {
    expect_error(VMRPC_BAD_ADDRESS, "no PCI address", "");
    expect_error(VMRPC_BAD_ADDRESS, "no PCI address", "0000:00:05.0\n");
}

TEST_F(DoorbellClient, IsToldWhatTheBrokerFound) {
    for (int i = 0; i < 3; ++i) expect_error(VMRPC_NO_SERVER, "no such PCI device");
}

TEST_F(DoorbellClient, ManyStartItAtOnceAndAllAreTold) {
    std::atomic<bool> go{false};
    std::vector<std::thread> threads;
    for (int i = 0; i < 8; ++i)
        threads.emplace_back([&] {
            while (!go) std::this_thread::yield();
            expect_error(VMRPC_NO_SERVER, "no such PCI device");
        });
    go = true;
    for (auto& thread : threads) thread.join();
}

TEST_F(DoorbellClient, NeedsTheProgram) {
    ::setenv("VMRPC_DOORBELL", "/nowhere/vmrpc-doorbell", 1);
    expect_error(VMRPC_NOT_SUPPORTED, "set VMRPC_DOORBELL to its path");
}

TEST_F(DoorbellClient, AProgramThatDoesNothing) {
    ::setenv("VMRPC_DOORBELL", "/bin/true", 1);
    expect_error(VMRPC_NO_SERVER, "ends as soon as it is started");
}

/// Something else of this user's at the broker's name.
class DoorbellImpostor : public DoorbellClient {
  protected:
    DoorbellImpostor() : listener_(std::move(transport::make_socket(SOCK_SEQPACKET).value())) {
        const BrokerName name = broker_name(own_address());
        EXPECT_EQ(::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&name.address), name.bytes), 0);
        EXPECT_EQ(::listen(listener_.get(), 16), 0);
    }
    /// Answers every client so, while one is refused.
    void expect_refused(vmrpc_status status, const std::string& text, const std::function<void(int)>& answer,
                        std::int64_t limit_ns = kLimitNs) {
        std::atomic<bool> ended{false};
        std::thread thread([&] {
            std::vector<base::Fd> clients;
            while (!ended) {
                if (!transport::wait_readable(listener_.get(), base::Deadline::in(5'000'000))) continue;
                clients.emplace_back(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
                if (answer) answer(clients.back().get());
                if (!answer || closes_) clients.clear();
            }
        });
        expect_error(status, text, own_address(), limit_ns);
        ended = true;
        thread.join();
    }
    static BrokerAnswer good_answer() {
        BrokerAnswer answer;
        answer.kind = static_cast<std::uint16_t>(BrokerRequestKind::kOpen);
        answer.vectors = 4;
        answer.registers_bytes = 256;
        answer.memory_bytes = 4096;
        return answer;
    }
    static void send(int client, const BrokerAnswer& answer, std::span<const int> descriptors = {}) {
        EXPECT_TRUE(transport::send_message(client, transport::bytes_of(answer), descriptors));
    }

    notify::GuardedFd listener_;
    bool closes_ = false;
};

TEST_F(DoorbellImpostor, ThatHangsUp) {
    closes_ = true;
    expect_refused(VMRPC_NO_SERVER, "ends as soon as it is started", nullptr);
}

TEST_F(DoorbellImpostor, ThatSaysNothing) {
    expect_refused(
        VMRPC_TIMED_OUT, "time limit", [](int) {}, 50'000'000);
}

TEST_F(DoorbellImpostor, ThatSpeaksSomethingElse) {
    expect_refused(VMRPC_POISONED, "protocol", [](int client) { EXPECT_EQ(::send(client, "hello", 5, 0), 5); });
    expect_refused(VMRPC_POISONED, "protocol", [](int client) {
        const std::vector<char> much(4000);
        EXPECT_EQ(::send(client, much.data(), much.size(), 0), 4000);
    });
    const auto with = [&](auto change) {
        expect_refused(VMRPC_POISONED, "protocol", [&](int client) {
            BrokerAnswer answer = good_answer();
            change(answer);
            const int descriptor = client;
            send(client, answer, std::span(&descriptor, 1));
        });
    };
    with([](BrokerAnswer& answer) { answer.magic = 0; });
    with([](BrokerAnswer& answer) { answer.kind = 2; });
    with([](BrokerAnswer& answer) { answer.status = VMRPC_NO_SERVER; });  // and a descriptor
    expect_refused(VMRPC_POISONED, "protocol", [](int client) { send(client, good_answer()); });
}

TEST_F(DoorbellImpostor, ThatSendsNoDevice) {
    expect_refused(VMRPC_POISONED, "no device", [](int client) {
        const base::Fd memory(::memfd_create("device", MFD_CLOEXEC));
        EXPECT_EQ(::ftruncate(memory.get(), 4096), 0);
        const int descriptor = memory.get();
        send(client, good_answer(), std::span(&descriptor, 1));
    });
}

TEST_F(DoorbellImpostor, WhoseTextHasNoEnd) {
    expect_refused(VMRPC_NOT_PERMITTED, std::string(464, 'x'), [](int client) {
        BrokerAnswer answer = good_answer();
        answer.status = VMRPC_NOT_PERMITTED;
        answer.text.fill('x');
        send(client, answer);
    });
}

}  // namespace
}  // namespace vmrpc::doorbell_test
