// A client that has to ask for memory, and a server that has to look at what it is asked for.
#include "call/remote_pages.hpp"

#include "call/server_connection.hpp"
#include "conformance/ends.hpp"
#include "heap/size_class.hpp"
#include "unit/capi_temp_folder.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

namespace vmrpc::call {
namespace {

using heap::kSpanBytes;
using heap::Pages;
using layout::Extent;
using layout::Side;
using testing::HasSubstr;
using transport::conformance::ClientEnd;
using transport::conformance::ServerEnd;
using transport::conformance::wait_until;

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;

class ClientSide final : public Endpoint {
  public:
    explicit ClientSide(transport::Link& link) : Endpoint(link, Side::kClient, {}) {}

    [[nodiscard]] const vmrpc_caller& caller() const override { return caller_; }

  private:
    void on_violation(base::Error error) override { end(std::move(error)); }
    vmrpc_caller caller_{};
};

class RemotePagesTest : public testing::Test {
  protected:
    RemotePagesTest() {
        server_events_.on_opened = [this](std::unique_ptr<transport::ServerLink> link) {
            const std::scoped_lock lock(mutex_);
            opened_ = std::move(link);
        };
        listener_ = transport::listen({folder_.address(), {}, 0}, server_events_).value();
        client_link_ = transport::connect({folder_.address(), {}, {}}, client_events_).value();
        connection_ = ServerConnection::make(take_link(), {});
        client_ = std::make_unique<ClientSide>(*client_link_);
        waiters_ = std::make_unique<notify::Waiters>(*client_link_, client_->control().ring_me[index_of(Side::kClient)],
                                                     client_->control().rung[index_of(Side::kClient)]);
        pages_.attach(*client_, *waiters_, notify::SpinBudget::kAdaptive);
    }
    ~RemotePagesTest() override { stop(); }

    void serve() {
        thread_ = std::thread([this] {
            while (!stopping_ && !connection_->is_over())
                if (!connection_->poll(functions_, frame_, false)) ::usleep(50);
            // As the serving loop does with a connection that is over.
            if (const auto status = connection_->usable(); !status) connection_->hang_up(status.error());
        });
    }
    void stop() {
        stopping_ = true;
        if (thread_.joinable()) thread_.join();
        stopping_ = false;
    }
    [[nodiscard]] Extent arena(Side side = Side::kClient) const {
        return {client_->plan().arena_offset(side), client_->plan().arena_bytes};
    }
    /// What the system has set aside for the segment, less what connecting took.
    [[nodiscard]] static std::uint64_t heap_bytes() {
        for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
            std::error_code gone;
            struct stat status {};
            if (std::filesystem::read_symlink(entry.path(), gone).string().find("memfd:vmrpc") == std::string::npos)
                continue;
            EXPECT_EQ(::stat(entry.path().c_str(), &status), 0);
            return static_cast<std::uint64_t>(status.st_blocks) * 512 / kSpanBytes * kSpanBytes;
        }
        return 0;
    }

    std::unique_ptr<transport::ServerLink> take_link() {
        std::unique_ptr<transport::ServerLink> link;
        wait_until([&] {
            const std::scoped_lock lock(mutex_);
            link = std::move(opened_);
            return link != nullptr;
        });
        return link;
    }

    test::TempFolder folder_;
    std::mutex mutex_;
    std::unique_ptr<transport::ServerLink> opened_;  // under mutex_
    ServerEnd server_events_;
    ClientEnd client_events_;
    std::unique_ptr<transport::Listener> listener_;
    std::unique_ptr<transport::ClientLink> client_link_;
    std::unique_ptr<notify::Waiters> waiters_;
    FunctionTable functions_;
    ServerFrame frame_;
    std::thread thread_;
    std::atomic<bool> stopping_{false};
    ServerConnection::Owned connection_;
    std::unique_ptr<ClientSide> client_;
    RemotePages pages_;
};

TEST_F(RemotePagesTest, MemoryIsSetAsideAndGoesBack) {
    serve();
    const Extent range{arena().offset + 3 * kSpanBytes, 100 * kMiB};  // several calls
    ASSERT_TRUE(pages_.commit(range));
    EXPECT_GE(heap_bytes(), range.bytes);
    EXPECT_LT(heap_bytes(), range.bytes + kMiB);
    ASSERT_TRUE(pages_.give_back(range, Pages::Wait::kYes));
    EXPECT_LT(heap_bytes(), kMiB);
}

TEST_F(RemotePagesTest, WhatIsNotWaitedForIsDoneInOrder) {
    // Nobody serves yet: what may be outstanding is bounded, and no more is taken.
    std::uint64_t posted = 0;
    while (pages_.give_back({arena().offset + posted * kMiB, kMiB}, Pages::Wait::kNo)) ++posted;
    EXPECT_EQ(posted, layout::kReplySlots / 2 - 1);
    serve();
    // Behind all of them: were one executed after it, the memory would be gone.
    ASSERT_TRUE(pages_.commit({arena().offset, 8 * kMiB}));
    EXPECT_GE(heap_bytes(), 8 * kMiB);
    EXPECT_TRUE(pages_.give_back({arena().offset, 8 * kMiB}, Pages::Wait::kNo));
    EXPECT_TRUE(wait_until([] { return heap_bytes() < kMiB; }));
}

TEST_F(RemotePagesTest, WaitersForMemorySeeTheEnd) {
    std::thread ends([this] {
        ::usleep(20'000);
        client_->end({VMRPC_PEER_LOST, "the test has ended it"});
        waiters_->interrupt();
    });
    const auto committed = pages_.commit({arena().offset, kMiB});
    ends.join();
    ASSERT_FALSE(committed);
    EXPECT_EQ(committed.error().status, VMRPC_PEER_LOST);
    EXPECT_TRUE(pages_.give_back({arena().offset, kMiB}, Pages::Wait::kNo));
}

/// Each is one that a client of ours never sends.
class HostileRange : public RemotePagesTest, public testing::WithParamInterface<int> {};

TEST_P(HostileRange, EndsTheConnectionAndTouchesNothing) {
    const Extent own = arena();
    const std::vector<Extent> ranges{
        {own.offset - kSpanBytes, kSpanBytes},       // control areas
        {own.offset - kSpanBytes, 2 * kSpanBytes},   // begins before
        {own.end() - kSpanBytes, 2 * kSpanBytes},    // ends behind
        {arena(Side::kServer).offset, kSpanBytes},   // the server's own
        {own.offset + 4096, kSpanBytes},             // no span
        {own.offset, kSpanBytes + 4096},             // no whole number of them
        {UINT64_MAX - kSpanBytes + 1, kSpanBytes},   // a sum that overflows
        {own.offset, UINT64_MAX - kSpanBytes + 1},   //
        {own.offset, kMostPagesBytes + kSpanBytes},  // too much at once
        {0, kSpanBytes},                             // the segment's header
    };
    const Extent range = ranges[static_cast<std::size_t>(GetParam()) / 2];
    if (range.bytes <= kMostPagesBytes) {
        serve();
        const auto status = GetParam() % 2 == 0 ? pages_.commit(range) : base::Status{};
        if (GetParam() % 2 == 0) {
            ASSERT_FALSE(status);
            EXPECT_EQ(status.error().status, VMRPC_POISONED);
            EXPECT_THAT(status.error().text, HasSubstr("not whole spans of its arena"));
        } else {
            EXPECT_TRUE(pages_.give_back(range, Pages::Wait::kYes));
        }
        EXPECT_TRUE(wait_until([this] { return connection_->is_over(); }));
        stop();
    } else {  // which our own client would cut
        EXPECT_FALSE(GetParam() % 2 == 0 ? connection_->commit_for_client(range) : connection_->trim_for_client(range));
    }
    EXPECT_EQ(connection_->usable().error().status, VMRPC_POISONED);
    EXPECT_EQ(heap_bytes(), 0U);
    const auto header = layout::read_segment(client_->segment(), heap::round_up(arena(Side::kServer).end(), 2 * kMiB));
    EXPECT_TRUE(header) << header.error().text;
}

INSTANTIATE_TEST_SUITE_P(All, HostileRange, testing::Range(0, 20));

TEST_F(RemotePagesTest, NoBytesAreNoRange) {
    EXPECT_FALSE(connection_->commit_for_client({arena().offset, 0}));
    EXPECT_TRUE(connection_->is_over());
}

}  // namespace
}  // namespace vmrpc::call
