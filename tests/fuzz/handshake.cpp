// local:, the server's side: a client's hello, its word that it has mapped the segment, and its wishes for further
// segments afterwards, all as the real hand-shake and the real link read them from a socket.
#include "transport/local/handshake.hpp"

#include "fuzz/input.hpp"
#include "transport/local/protocol.hpp"
#include "transport/local/server_segments.hpp"
#include "transport/local/socket.hpp"

#include <sys/socket.h>

#include <array>
#include <memory>
#include <tuple>

namespace vmrpc::fuzz {
namespace {

using namespace transport::local;
using transport::bytes_of;

constexpr std::uint64_t kMostBytes = std::uint64_t{8} << 20;

/// The client's end, which sends what the input says, and drops what it is sent.
class Client {
  public:
    explicit Client(int socket) : socket_(socket) {}
    void send(std::span<const std::byte> message) const {
        std::ignore = ::send(socket_.get(), message.data(), message.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    }
    void drop_answers() const {
        std::array<std::byte, 2048> answer{};
        while (::recv(socket_.get(), answer.data(), answer.size(), MSG_DONTWAIT) > 0) {
        }
    }
    void hang_up() { socket_.reset(); }

  private:
    base::Fd socket_;
};

/// A message that is mostly what a client of ours says; or anything.
template <class Message>
void send(const Client& client, Input& input, Message message) {
    if (input.one_in(8)) return client.send(input.take_bytes(2 * sizeof message));
    input.spoil(message);
    client.send(bytes_of(message));
}

void send_wish(const Client& client, Input& input, heap::HeapId last_heap) {
    HeapWish wish;
    wish.token = input.below(3);
    wish.side = input.below(3);
    wish.arena_bytes = (input.below(20)) * heap::kSpanBytes;
    wish.flags = input.below(4);
    switch (input.below(4)) {
        case 0:
            return send(client, input, wish);
        case 1:
            return send(client, input, HeapMapped{.heap = last_heap, .status = input.below(2)});
        case 2:
            return send(client, input, HeapWord{.head = {.kind = MessageKind::kHeapEnd}, .heap = last_heap});
        default:
            return send(client, input, HeapWord{.head = {.kind = MessageKind::kHeapEnded}, .heap = last_heap});
    }
}

/// What a connection of local: takes from its socket, without the thread that waits for it.
void talk_of_segments(Client& client, int server, Input& input) {
    alignas(64) static std::array<std::byte, layout::kAreaBytes> segment_0{};
    heap::HeapId given_up = 0;
    ServerSegments segments(server, segment_0.data(),
                            {.equal_addresses = input.flag(), .most_client_bytes = kMostBytes},
                            [&](heap::HeapId heap) { given_up = heap; });
    heap::HeapId heap = 0;
    for (int message = 0; message < 12 && !input.is_empty(); ++message) {
        send_wish(client, input, heap);
        FromClient bytes{};
        const auto received = transport::receive_message(server, bytes);
        if (received.arrival != transport::Arrival::kMessage || !received.is_whole) break;
        if (!segments.take(std::span(bytes).first(received.bytes))) break;
        if (given_up != 0) segments.end(std::exchange(given_up, 0));
        // What the server offered is what the client may mean next.
        heap = (std::uint32_t{1} << 31) | (input.below(16) << 4) | input.below(16);
        client.drop_answers();
    }
    segments.stop();
}

void shake_hands(Client& client, notify::GuardedFd server, Input& input) {
    ServerTerms terms{.name = "local:fuzz", .most = {.heap_bytes = kMostBytes, .lane_count = 4}};
    terms.most.equal_addresses = input.flag();
    terms.most.trust_peer = input.flag();
    terms.max_connections = input.below(3);
    Handshake handshake(std::move(server), terms, std::make_shared<transport::EventSink>(), 1);
    Hello hello;
    hello.lane_count = input.below(80);
    hello.flags = input.below(16) & ~kWishesHugetlb;  // the pool is the machine's
    hello.page_bytes = 4096;
    hello.free_slots.fill(input.flag() ? ~std::uint64_t{0} : 0);
    send(client, input, hello);
    if (handshake.advance() != Handshake::Progress::kWaiting) return;
    send(client, input, Mapped{.client_address = input.take<std::uint64_t>()});
    client.drop_answers();
    std::ignore = handshake.advance();
}

}  // namespace
}  // namespace vmrpc::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace vmrpc;
    fuzz::Input input(data, size);
    int other = -1;
    auto server = notify::GuardedFd::made_by([&] {
        std::array<int, 2> ends{-1, -1};
        std::ignore = ::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends.data());
        other = ends[1];
        return ends[0];
    });
    fuzz::Client client(other);
    if (input.flag())
        fuzz::talk_of_segments(client, server.get(), input);
    else
        fuzz::shake_hands(client, std::move(server), input);
    return 0;
}
