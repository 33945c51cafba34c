// Clients that answer calls back with what cannot be: their rings are written by hand.
#include "call/function.hpp"
#include "call/resolve.hpp"
#include "conformance/ends.hpp"
#include "conformance/fixture.hpp"
#include "layout/lane.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <future>
#include <memory>
#include <string>

namespace vmrpc::test {
namespace {

using layout::Lane;
using layout::Reply;
using layout::Request;
using testing::HasSubstr;
using transport::conformance::ClientEnd;
using transport::conformance::control_of;
using transport::conformance::wait_until;

constexpr auto kAsk = named<"hostile.ask", void()>;
constexpr auto kAnswer = named<"hostile.answer", Array<std::int64_t>()>;
constexpr std::uint32_t kAskIndex = layout::kReservedFunctions;  // the first that the server adds

/// Its function asks the client, and keeps what came of it.
class AskingServer {
  public:
    AskingServer() {
        server_.add<kAsk>([this] {
            const auto answer = caller().call<kAnswer>();
            asked_.set_value(answer ? Error{} : answer.error());
        });
        thread_ = std::thread([this] { EXPECT_TRUE(server_.run()); });
    }
    AskingServer(const AskingServer&) = delete;
    AskingServer& operator=(const AskingServer&) = delete;
    ~AskingServer() {
        server_.stop();
        thread_.join();
    }
    [[nodiscard]] std::string address() const { return "local:" + (folder_.path() / "server.sock").string(); }
    /// What the function got of its call back.
    [[nodiscard]] Error asked() { return asked_.get_future().get(); }
    [[nodiscard]] bool serves_others() const {
        const auto other = Client::connect(address());
        return other && other->call<named<"hostile.nothing", void()>>().error().status == VMRPC_UNKNOWN_FUNCTION;
    }

  private:
    conformance::TemporaryFolder folder_;
    std::promise<Error> asked_;
    Server server_{address(), {.callback_limit = std::chrono::milliseconds(300)}};
    std::thread thread_;
};

/// A client's end without the library's calls.
class RawClient {
  public:
    explicit RawClient(const AskingServer& server) {
        auto link = transport::connect({server.address(), {}, base::Deadline::in(10'000'000'000)}, end_);
        EXPECT_TRUE(link) << link.error().text;
        if (link) link_ = std::move(*link);
    }
    [[nodiscard]] const layout::RegionPlan& plan() const { return link_->plan(); }
    [[nodiscard]] Lane& lane() const { return *reinterpret_cast<Lane*>(link_->segment() + plan().lanes_offset); }
    /// Posts the call that makes the server call back.
    void ask(std::uint8_t depth = 0) const {
        control_of(*link_).client.lanes_in_use.store_relaxed(1);
        Request& line = lane().requests.lines[0];
        line.body = {};
        line.body.function = kAskIndex;
        line.body.depth = depth;
        line.sequence.store_release(1);
        link_->ring();
    }
    /// The server's request of that sequence, when it is there.
    [[nodiscard]] Request& request(std::uint64_t sequence) const {
        Request& line = lane().callback_requests.lines[sequence - 1];
        EXPECT_TRUE(wait_until([&] { return line.sequence.load_acquire() == sequence; }));
        return line;
    }
    void answer(const Request& request, std::uint32_t status, std::uint32_t result_bytes) const {
        Reply& reply = lane().callback_replies[request.body.slot];
        reply.body.status = status;
        reply.body.result_bytes = result_bytes;
        reply.sequence.store_release(request.sequence.load_relaxed());
        link_->ring();
    }
    /// As a client should: the function is there, at that index.
    void answer_resolve(const Request& request, std::uint32_t index) const {
        call::ResolveReply found{};
        found.index = index;
        std::byte* const frame = link_->segment() + request.body.frame_offset;
        std::memcpy(frame + call::stacked_request_bytes(request.body.frame_bytes), &found, sizeof found);
        answer(request, VMRPC_OK, sizeof found);
    }
    void answer_block(const Request& request, const call::WireSpan& block) const {
        std::memcpy(lane().callback_replies[request.body.slot].body.inline_result.data(), &block, sizeof block);
        answer(request, VMRPC_OK, sizeof block);
    }
    /// Waits for the end of the connection; what the server says of it.
    [[nodiscard]] std::string poisoned_with() {
        EXPECT_TRUE(wait_until([&] { return end_.losses == 1; }));
        EXPECT_EQ(control_of(*link_).server.state.load_acquire(),
                  static_cast<std::uint32_t>(layout::RegionState::kPoisoned));
        return control_of(*link_).server_text.data();
    }

  private:
    ClientEnd end_;
    std::unique_ptr<transport::ClientLink> link_;
};

TEST(CallbackHostile, AnImpossibleStatusEndsTheConnection) {
    AskingServer server;
    RawClient client(server);
    client.ask();
    client.answer(client.request(1), 9'999, 0);
    EXPECT_THAT(server.asked().text, HasSubstr("impossible status 9999"));
    EXPECT_THAT(client.poisoned_with(), HasSubstr("impossible status 9999"));
    EXPECT_TRUE(server.serves_others());
}

TEST(CallbackHostile, ResultsOfAnotherSizeEndTheConnection) {
    AskingServer server;
    RawClient client(server);
    client.ask();
    client.answer(client.request(1), VMRPC_OK, 8);
    EXPECT_THAT(client.poisoned_with(), HasSubstr("with 8 bytes of results instead of"));
    EXPECT_EQ(server.asked().status, VMRPC_POISONED);
    EXPECT_TRUE(server.serves_others());
}

TEST(CallbackHostile, ATextThatIsTooLongIsCut) {
    AskingServer server;
    const RawClient client(server);
    client.ask();
    Request& request = client.request(1);
    client.lane().callback_error_texts[request.body.slot].fill('x');
    client.answer(request, VMRPC_BUSY, UINT32_MAX);
    const Error asked = server.asked();
    EXPECT_EQ(asked.status, VMRPC_BUSY);
    EXPECT_EQ(asked.text, std::string(layout::kErrorTextBytes, 'x'));
}

TEST(CallbackHostile, ABlockOfTheServersIsNotTheClientsToReturn) {
    AskingServer server;
    RawClient client(server);
    client.ask();
    client.answer_resolve(client.request(1), 1'000);
    client.answer_block(client.request(2), {client.plan().arena_offset(layout::Side::kServer), 1});
    EXPECT_THAT(client.poisoned_with(), HasSubstr("lies in the server's half of the heap"));
    EXPECT_EQ(server.asked().status, VMRPC_POISONED);
}

TEST(CallbackHostile, ABlockOutsideOfTheHeapEndsTheConnection) {
    AskingServer server;
    RawClient client(server);
    client.ask();
    client.answer_resolve(client.request(1), 1'000);
    client.answer_block(client.request(2), {std::uint64_t{1} << 40, 1});
    EXPECT_THAT(client.poisoned_with(), HasSubstr("does not lie in the heap"));
}

TEST(CallbackHostile, WhoAnswersNothingHoldsTheServerUpForItsLimit) {
    AskingServer server;
    const RawClient client(server);
    client.ask();
    Request& request = client.request(1);
    client.lane().callback_replies[request.body.slot].sequence.store_release(77);  // no sequence of a request
    EXPECT_EQ(server.asked().status, VMRPC_TIMED_OUT);
    EXPECT_TRUE(server.serves_others());
}

TEST(CallbackHostile, ADepthThatCannotBeEndsTheConnection) {
    const AskingServer server;
    RawClient client(server);
    client.ask(200);
    EXPECT_THAT(client.poisoned_with(), HasSubstr("depth 200 of 16"));
    EXPECT_TRUE(server.serves_others());
}

}  // namespace
}  // namespace vmrpc::test
