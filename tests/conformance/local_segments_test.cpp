// local: what may be said on the socket after the hand-shake, about further segments, and what must not. After each
// case the server must still serve, and nothing must be left.
#include "heap/size_class.hpp"
#include "local_bad_input.hpp"

#include <array>
#include <cstring>
#include <random>
#include <thread>
#include <utility>
#include <vector>

namespace vmrpc::transport::conformance {
namespace {

using layout::Side;

constexpr std::uint64_t kArenaBytes = 16 * heap::kSpanBytes;

/// What a link says of the peer's segments.
class Segments final : public SegmentEvents {
  public:
    void added(std::shared_ptr<const AddedSegment> segment) override {
        const std::scoped_lock lock(mutex_);
        segments_.push_back(std::move(segment));
    }
    void ended(heap::HeapId heap) noexcept override {
        const std::scoped_lock lock(mutex_);
        std::erase_if(segments_, [heap](const auto& segment) { return segment->heap == heap; });
    }
    std::size_t count() {
        const std::scoped_lock lock(mutex_);
        return segments_.size();
    }
    std::shared_ptr<const AddedSegment> last() {
        const std::scoped_lock lock(mutex_);
        return segments_.back();
    }

  private:
    std::mutex mutex_;
    std::vector<std::shared_ptr<const AddedSegment>> segments_;
};

class LocalSegments : public ::testing::Test {
  protected:
    void SetUp() override {
        const Wishes most{.heap_bytes = 1, .further_bytes = 4 * kArenaBytes};
        auto made = listen({harness_.address(), most, 0}, server_);
        ASSERT_TRUE(made) << made.error().text;
        listener_ = std::move(*made);
        descriptors_ = open_descriptors();
        mapped_ = mapped_segments();
    }
    void TearDown() override {
        EXPECT_TRUE(connects(harness_.address())) << "the server does not serve any more";
        raw_.reset();
        while (dropped_ < links_) {
            ASSERT_NE(server_.link(dropped_), nullptr);
            server_.drop(dropped_++);
        }
        EXPECT_TRUE(wait_until([&] { return mapped_segments() <= mapped_ + 1; })) << mapped_segments();
    }

    /// A client that has finished the hand-shake.
    void join_raw() {
        raw_ = raw_client(harness_);
        ASSERT_TRUE(send_message(raw_.get(), bytes_of(good_hello())));
        Offer offer;
        receive(offer);
        ASSERT_TRUE(send_message(raw_.get(), bytes_of(Mapped{})));
        Ready ready;
        receive(ready);
        ASSERT_NE(server_.link(links_), nullptr);
        ++links_;
    }
    template <class Message>
    Received receive(Message& message) const {
        EXPECT_TRUE(wait_readable(raw_.get(), base::Deadline::in(kWatchdogNs)));
        return receive_message(raw_.get(), writable_bytes_of(message), Descriptors::kWanted);
    }
    template <class Message>
    void send(const Message& message) const {
        ASSERT_TRUE(send_message(raw_.get(), bytes_of(message)));
    }
    static HeapWish wish(std::uint64_t arena_bytes = kArenaBytes, Side side = Side::kClient) {
        HeapWish wish;
        wish.token = 7;
        wish.side = static_cast<std::uint32_t>(side);
        wish.arena_bytes = arena_bytes;
        return wish;
    }
    static HeapWord word(MessageKind kind, heap::HeapId heap) { return {.head = {.kind = kind}, .heap = heap}; }
    static HeapMapped mapped(heap::HeapId heap) {
        HeapMapped mapped;
        mapped.heap = heap;
        return mapped;
    }
    HeapOffer offered(const HeapWish& wish) {
        send(wish);
        HeapOffer offer;
        EXPECT_EQ(receive(offer).bytes, sizeof offer);
        EXPECT_EQ(offer.token, wish.token);
        return offer;
    }
    heap::HeapId set_up() {
        const HeapOffer offer = offered(wish());
        EXPECT_EQ(offer.status, static_cast<std::uint32_t>(VMRPC_OK)) << offer.text.data();
        send(mapped(offer.heap));
        HeapWord ready;
        receive(ready);
        EXPECT_EQ(ready.head.kind, MessageKind::kHeapReady);
        EXPECT_EQ(ready.heap, offer.heap);
        return offer.heap;
    }
    template <class Message>
    void expect_let_go(const Message& message) {
        join_raw();
        send(message);
        expect_loss();
    }
    void expect_loss() {
        EXPECT_TRUE(wait_until([&] { return server_.losses(links_ - 1) == 1; }));
    }
    void expect_refused(const HeapWish& wish, vmrpc_status status, const char* text) {
        const HeapOffer offer = offered(wish);
        EXPECT_EQ(offer.status, static_cast<std::uint32_t>(status));
        EXPECT_THAT(offer.text.data(), HasSubstr(text));
    }

    LocalHarness harness_;
    ServerEnd server_;
    std::unique_ptr<Listener> listener_;
    notify::GuardedFd raw_;
    std::size_t links_ = 0;
    std::size_t dropped_ = 0;
    int descriptors_ = 0;
    int mapped_ = 0;
};

TEST_F(LocalSegments, AreMadeAndTakenAway) {
    join_raw();
    Segments seen;
    server_.link()->watch_segments(seen);
    const heap::HeapId heap = set_up();
    ASSERT_EQ(seen.count(), 1U);
    EXPECT_EQ(seen.last()->heap, heap);
    EXPECT_EQ(seen.last()->arena_bytes, kArenaBytes);
    const auto& entry =
        *reinterpret_cast<const layout::FurtherSegment*>(server_.link()->segment() + layout::kFurtherOffset);
    EXPECT_EQ(entry.state.load_acquire(), 1U);
    EXPECT_EQ(entry.heap, heap);
    EXPECT_EQ(entry.arena_bytes, kArenaBytes);
    send(word(MessageKind::kHeapEnd, heap));
    ASSERT_TRUE(wait_until([&] { return server_.segments_ended() == 1; }));
    server_.link()->end_segment(heap);
    EXPECT_EQ(entry.state.load_acquire(), 0U);
    seen.ended(heap);
    EXPECT_NE(set_up(), heap) << "the same place has another number";
}

TEST_F(LocalSegments, MessagesOfWrongSizesEndTheConnection) {
    const auto sized = [](std::size_t bytes) {
        std::vector<std::byte> message(bytes);
        const HeapWish whole = wish();
        std::memcpy(message.data(), &whole, std::min(bytes, sizeof whole));
        return message;
    };
    for (const std::size_t bytes :
         {std::size_t{1}, sizeof(MessageHead), sizeof(HeapWish) - 1, sizeof(HeapWish) + 1, 2 * sizeof(HeapWish)}) {
        join_raw();
        ASSERT_TRUE(send_message(raw_.get(), sized(bytes)));
        expect_loss();
    }
}

TEST_F(LocalSegments, AMessageInPiecesIsTwoOfWrongSizes) {
    join_raw();
    const HeapWish whole = wish();
    ASSERT_TRUE(send_message(raw_.get(), bytes_of(whole).first(100)));
    static_cast<void>(send_message(raw_.get(), bytes_of(whole).subspan(100)));
    expect_loss();
}

TEST_F(LocalSegments, MessagesThatDoNotBelongThereEndTheConnection) {
    expect_let_go(Hello{});
    expect_let_go(Mapped{});
    expect_let_go(HeapAsk{});
    expect_let_go(HeapOffer{});
    expect_let_go(word(MessageKind::kHeapReady, number_of_heap(1, 1)));
    expect_let_go(word(MessageKind::kHeapEnd, number_of_heap(1, 1)));
    expect_let_go(word(MessageKind::kHeapEnd, 0));
    expect_let_go(word(MessageKind::kHeapEnd, 0xffff'ffff));
    expect_let_go(word(MessageKind::kHeapEnded, number_of_heap(1, 16)));
    expect_let_go(mapped(number_of_heap(1, 1)));
    expect_let_go(wish(kArenaBytes, Side::kServer));  // nobody asked
    HeapWish strange = wish();
    strange.side = 2;
    expect_let_go(strange);
    strange = wish();
    strange.head.magic ^= 1;
    expect_let_go(strange);
    strange = wish();
    strange.head.layout_major = 9;
    expect_let_go(strange);
}

TEST_F(LocalSegments, WishesWithoutMeasureAreRefused) {
    join_raw();
    expect_refused(wish(0), VMRPC_BAD_ARGUMENT, "0 bytes");
    expect_refused(wish(1), VMRPC_BAD_ARGUMENT, "whole spans");
    expect_refused(wish(~std::uint64_t{0}), VMRPC_BAD_ARGUMENT, "at most");
    expect_refused(wish(heap::kMaxArenaBytes), VMRPC_OUT_OF_RESOURCES, "further_heap_bytes");
    for (int i = 0; i < 4; ++i) set_up();
    expect_refused(wish(), VMRPC_OUT_OF_RESOURCES, "further_heap_bytes");
}

TEST_F(LocalSegments, SlotsThatDoNotExist) {
    join_raw();
    HeapWish strange = wish();
    strange.flags = ~0U;
    strange.free_slots.fill(~std::uint64_t{0});
    const HeapOffer offer = offered(strange);
    EXPECT_EQ(offer.status, static_cast<std::uint32_t>(VMRPC_OK));
}

TEST_F(LocalSegments, AFloodOfWishesEndsTheConnection) {
    join_raw();
    for (int i = 0; i < 100; ++i)
        if (!send_message(raw_.get(), bytes_of(wish()))) break;
    expect_loss();
    EXPECT_LE(mapped_segments(), mapped_ + 2);
}

TEST_F(LocalSegments, MappedTwiceAndEndedTwiceEndTheConnection) {
    join_raw();
    const heap::HeapId heap = set_up();
    send(mapped(heap));
    expect_loss();
    join_raw();
    const heap::HeapId other = set_up();
    send(word(MessageKind::kHeapEnd, other));
    send(word(MessageKind::kHeapEnd, other));
    expect_loss();
}

TEST_F(LocalSegments, OfTheServersAreNotTheClientsToEnd) {
    join_raw();
    std::thread client([&] {
        HeapAsk ask;
        receive(ask);
        HeapWish answer = wish(0, Side::kServer);
        answer.token = ask.token;
        send(answer);
        HeapOffer offer;
        receive(offer);
        send(mapped(offer.heap));
        send(word(MessageKind::kHeapEnd, offer.heap));
    });
    static_cast<void>(server_.link()->add_segment({.arena_bytes = kArenaBytes}));
    client.join();
    expect_loss();
}

TEST_F(LocalSegments, ASilentClientIsAnError) {
    join_raw();
    const auto added = server_.link()->add_segment({.arena_bytes = kArenaBytes});
    ASSERT_FALSE(added);
    EXPECT_EQ(added.error().status, VMRPC_TIMED_OUT);
    // What it answers later is of no use, and no harm.
    HeapAsk ask;
    receive(ask);
    HeapWish answer = wish(0, Side::kServer);
    answer.token = ask.token;
    send(answer);
    set_up();
}

TEST_F(LocalSegments, AClientThatTakesTheOfferAndIsSilentIsAnErrorToo) {
    join_raw();
    std::thread client([&] {
        HeapAsk ask;
        receive(ask);
        HeapWish answer = wish(0, Side::kServer);
        answer.token = ask.token;
        send(answer);
    });
    const auto added = server_.link()->add_segment({.arena_bytes = kArenaBytes});
    client.join();
    ASSERT_FALSE(added);
    EXPECT_EQ(added.error().status, VMRPC_TIMED_OUT);
    HeapOffer offer;
    receive(offer);
    HeapWord end;
    receive(end);
    EXPECT_EQ(end.head.kind, MessageKind::kHeapEnd);
    EXPECT_EQ(end.heap, offer.heap);
    send(mapped(offer.heap));  // on its way already
    send(word(MessageKind::kHeapEnded, offer.heap));
    set_up();
}

TEST_F(LocalSegments, AClientThatCannotMapIsAnError) {
    join_raw();
    std::thread client([&] {
        HeapAsk ask;
        receive(ask);
        HeapWish answer = wish(0, Side::kServer);
        answer.token = ask.token;
        send(answer);
        HeapOffer offer;
        receive(offer);
        HeapMapped failed = mapped(offer.heap);
        failed.status = VMRPC_OUT_OF_RESOURCES;
        send(failed);
    });
    const auto added = server_.link()->add_segment({.arena_bytes = kArenaBytes});
    client.join();
    ASSERT_FALSE(added);
    EXPECT_EQ(added.error().status, VMRPC_OUT_OF_RESOURCES);
}

TEST_F(LocalSegments, ADeadClientIsAnErrorAtOnce) {
    join_raw();
    std::thread client([&] {
        HeapAsk ask;
        receive(ask);
        raw_.reset();
    });
    const auto added = server_.link()->add_segment({.arena_bytes = kArenaBytes});
    client.join();
    ASSERT_FALSE(added);
    EXPECT_EQ(added.error().status, VMRPC_PEER_LOST);
}

TEST_F(LocalSegments, DescriptorsAreNotTaken) {
    join_raw();
    const int before = open_descriptors();
    const std::array<int, 2> descriptors{raw_.get(), raw_.get()};
    ASSERT_TRUE(send_message(raw_.get(), bytes_of(wish()), descriptors));
    {
        HeapOffer offer;
        const Received received = receive(offer);
        EXPECT_EQ(offer.status, static_cast<std::uint32_t>(VMRPC_OK));
        EXPECT_TRUE(received.descriptors[0].valid());
        send(mapped(offer.heap));
        HeapWord ready;
        receive(ready);
    }
    EXPECT_EQ(open_descriptors(), before) << "nor does the server keep the memory's";
}

TEST_F(LocalSegments, RandomMessagesEndTheConnection) {
    std::mt19937 random(1);  // NOLINT(cert-msc51-cpp): the same every time
    for (int i = 0; i < 100; ++i) {
        join_raw();
        for (int n = 0; n < 20; ++n) {
            std::array<std::byte, sizeof(HeapWish)> bytes{};
            for (std::byte& byte : bytes) byte = static_cast<std::byte>(random() % 3);
            const MessageHead head{.kind = static_cast<MessageKind>(random() % 13)};
            std::memcpy(bytes.data(), &head, sizeof head);
            const std::array<std::size_t, 4> sizes{sizeof(HeapWord), sizeof(HeapMapped), sizeof(HeapWish), 100};
            if (!send_message(raw_.get(), std::span(bytes).first(sizes[random() % sizes.size()]))) break;
        }
        expect_loss();
        raw_.reset();
        server_.drop(links_ - 1);
    }
    dropped_ = links_;
}

}  // namespace
}  // namespace vmrpc::transport::conformance
