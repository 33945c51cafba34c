// local:, the client's side: a server's offer, the region that it has formatted, its replies, its calls back, and the
// further segments that it offers, against a real client.
#include "call/function.hpp"
#include "call/resolve.hpp"
#include "fuzz/input.hpp"
#include "fuzz/region_link.hpp"
#include "layout/lane.hpp"
#include "transport/local/protocol.hpp"
#include "transport/local/socket.hpp"
#include "transport/rung_word.hpp"

#include <vmrpc/vmrpc.hpp>

#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>

#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

namespace vmrpc::fuzz {
namespace {

using namespace transport::local;
using Large = std::array<std::uint64_t, 32>;

const Region& region() {
    static const Region made(
        {.lane_count = 2, .stack_bytes = 4 * layout::kAreaBytes, .arena_bytes = std::uint64_t{1} << 20});
    return made;
}

/// A server's socket, in the folder that the program runs in.
class Socket {
  public:
    Socket() : path_("fuzz-client-" + std::to_string(::getpid()) + ".sock") {
        const auto address = socket_address(path_).value();
        if (::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
            ::listen(socket_.get(), 4) != 0)
            std::abort();
    }
    Socket(const Socket&) = delete;
    Socket& operator=(const Socket&) = delete;
    ~Socket() { std::ignore = std::remove(path_.c_str()); }
    [[nodiscard]] std::string address() const { return "local:" + path_; }
    [[nodiscard]] base::Fd accept() const {
        pollfd waiting{.fd = socket_.get(), .events = POLLIN, .revents = 0};
        ::poll(&waiting, 1, 10'000);
        return base::Fd(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    }

  private:
    std::string path_;
    notify::GuardedFd socket_ = make_socket().value();
};

/// Serves one client, by the input.
class Server {
  public:
    Server(const Socket& listening, Input& input) : listening_(listening), input_(input) {}

    void serve() {
        prepare_region();
        socket_ = listening_.accept();
        if (!make_offer()) return;
        // Until the client hangs up. What is left of the input are its answers.
        for (std::uint32_t turn = 0; turn % 64 != 0 || !is_deserted(); ++turn) {
            for (std::uint32_t lane = 0; lane < 2; ++lane) answer(lane);
            if (turn == 64) talk();
            ::sched_yield();
        }
    }

  private:
    void prepare_region() {
        region().format();
        input_.spoil(*reinterpret_cast<layout::SegmentHeader*>(region().base()));
        input_.spoil(region().control().plan);
        for (std::uint32_t places = input_.below(4); places != 0; --places)
            input_.scribble(region().bytes(layout::kAreaBytes, layout::kAreaBytes + 256));
    }
    bool make_offer() {
        Offer offer;
        offer.segment_bytes = region().bytes().size();
        offer.region_offset = region().plan().region_offset;
        offer.server_address = reinterpret_cast<std::uint64_t>(region().base());
        offer.flags = input_.below(4);
        if (input_.one_in(4)) input_.spoil(offer);
        const base::Fd bell(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
        const std::array<int, 2> descriptors{region().memory(), bell.get()};
        const auto sent = std::span(descriptors).first(input_.one_in(8) ? input_.below(2) : 2);
        if (!transport::send_message(socket_.get(), transport::bytes_of(offer), sent)) return false;
        Ready ready;
        if (input_.one_in(16)) input_.spoil(ready);
        return transport::send_message(socket_.get(), transport::bytes_of(ready)).has_value();
    }
    [[nodiscard]] bool is_deserted() const {
        pollfd looked_at{.fd = socket_.get(), .events = POLLRDHUP, .revents = 0};
        return ::poll(&looked_at, 1, 0) != 0;
    }
    /// After the hand-shake.
    void talk() {
        for (int messages = 0; messages < 4 && input_.one_in(4); ++messages) {
            HeapOffer offer{.token = input_.below(2), .side = input_.below(2), .heap = (1U << 31) | input_.below(17)};
            offer.arena_bytes = 30 * layout::kAreaBytes;
            offer.segment_bytes = layout::further_segment_bytes(offer.arena_bytes);
            if (input_.flag()) input_.spoil(offer);
            const auto memory = transport::make_segment_memory(std::uint64_t{2} << 20);
            const std::array<int, 1> descriptors{memory->get()};
            const HeapWord word{.head = {.kind = static_cast<MessageKind>(input_.below(13))}, .heap = offer.heap};
            const bool is_offer = input_.below(3) != 0;
            std::ignore = is_offer ? transport::send_message(socket_.get(), transport::bytes_of(offer), descriptors)
                                   : transport::send_message(socket_.get(), transport::bytes_of(word));
        }
    }
    static layout::Lane& lane(std::uint32_t number) {
        return reinterpret_cast<layout::Lane*>(region().base() + region().plan().lanes_offset)[number];
    }
    void answer(std::uint32_t number) {
        layout::Lane& lane = Server::lane(number);
        layout::Request& line = lane.requests.lines[(next_[number] - 1) % layout::kRequestRingLines];
        if (line.sequence.load_acquire() != next_[number]) return;
        const layout::RequestBody request = line.body;
        layout::Reply& reply = lane.replies[request.slot % layout::kReplySlots];
        layout::ReplyBody body{};
        body.result_bytes = request.result_bytes;
        if (request.function == 0) put_resolved(request);
        const auto result = input_.take_bytes(input_.below(49));
        std::copy(result.begin(), result.end(), std::as_writable_bytes(std::span(body.inline_result)).begin());
        if (input_.one_in(4)) body.status = 300 + input_.below(120);
        if (input_.one_in(4)) input_.spoil(body);
        if (input_.one_in(4)) call_back(lane);
        if (input_.one_in(4))
            input_.scribble(region().bytes(region().plan().region_offset, region().plan().region_bytes));
        reply.body = body;
        reply.sequence.store_release(next_[number]++);
        rung_.write(region().control().rung[index_of(layout::Side::kClient)]);
    }
    void put_resolved(const layout::RequestBody& request) {
        call::ResolveReply found{};
        found.index = layout::kReservedFunctions + input_.below(4);
        if (input_.one_in(8)) input_.spoil(found);
        const std::uint64_t at = request.frame_offset + call::stacked_request_bytes(request.frame_bytes);
        if (layout::holds({0, region().bytes().size()}, at, sizeof found))
            std::memcpy(region().base() + at, &found, sizeof found);
    }
    void call_back(layout::Lane& lane) {
        region().control().server.calls_back.store_relaxed(1);
        layout::Request& line = lane.callback_requests.lines[next_back_++ % layout::kRequestRingLines];
        line.body = {};
        line.body.function = input_.below(20);
        line.body.depth = 1;
        line.body.slot = static_cast<std::uint8_t>(input_.below(16));
        line.body.frame_bytes = line.body.result_bytes = 8;
        if (input_.flag()) input_.spoil(line.body);
        line.sequence.store_release(next_back_);
    }

    const Socket& listening_;
    Input& input_;
    base::Fd socket_;
    std::array<std::uint64_t, 2> next_{1, 1};
    std::uint64_t next_back_ = 0;
    transport::RungWriter rung_{0};
};

/// Everything that is read of a reply is touched.
void call(const std::string& address) {
    const std::chrono::microseconds limit(500);  // all that is lost if an answer is none
    auto client = Client::connect(address, {.timeout = std::chrono::seconds(10)});
    if (!client) return;
    std::ignore = client->add<named<"fuzz.back", std::int64_t(std::int64_t)>>([](std::int64_t value) { return value; });
    for (int round = 0; round < 2; ++round) {
        std::ignore = client->call_within<named<"fuzz.value", std::int64_t(std::int32_t)>>(limit, 1);
        const auto block = client->call_within<named<"fuzz.block", Array<std::uint64_t>()>>(limit);
        std::uint64_t sum = 0;
        for (const std::uint64_t word :
             block ? std::span<const std::uint64_t>(*block) : std::span<const std::uint64_t>())
            sum += word;
        Large large{sum};
        std::ignore = client->call_within<named<"fuzz.large", Large(Large&)>>(limit, large);
        const auto heap = client->heap();
        if (auto made = heap.make_array<std::uint64_t>(10))
            std::ignore = client->call_within<named<"fuzz.span", void(std::span<std::uint64_t>)>>(limit, *made);
    }
    auto future = client->async<named<"fuzz.value", std::int64_t(std::int32_t)>>(2);
    std::ignore = future.wait_for(limit);
}

}  // namespace
}  // namespace vmrpc::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace vmrpc::fuzz;
    static const Socket socket;
    Input input(data, size);
    Server server(socket, input);
    std::thread thread([&server] { server.serve(); });
    call(socket.address());
    thread.join();
    return 0;
}
