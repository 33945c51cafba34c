// Requests that lend an RPC stack and must not: written into the ring by hand, as a hostile client would.
#include "capi_server.hpp"
#include "conformance/ends.hpp"
#include "layout/lane.hpp"
#include "layout/stack_parts.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <string>

namespace vmrpc::test {
namespace {

using testing::HasSubstr;
using transport::conformance::ClientEnd;
using transport::conformance::control_of;
using transport::conformance::wait_until;

vmrpc_serve_options of_server(int trust_peer, int borrow_stack) {
    vmrpc_serve_options options{};
    options.trust_peer = trust_peer;
    options.borrow_stack = borrow_stack;
    return options;
}

/// A client's end without the library's calls.
class RawClient {
  public:
    RawClient(const CapiServer& server, const transport::Wishes& wishes) {
        auto link = transport::connect({server.address(), wishes, base::Deadline::in(10'000'000'000)}, end_);
        EXPECT_TRUE(link) << link.error().text;
        if (link) link_ = std::move(*link);
    }
    [[nodiscard]] const layout::RegionPlan& plan() const { return link_->plan(); }
    /// Posts, as the first request of the first lane.
    void lend(std::uint64_t frame_offset) {
        control_of(*link_).client.lanes_in_use.store_relaxed(1);
        auto& line = reinterpret_cast<layout::Lane*>(link_->segment() + plan().lanes_offset)->requests.lines[0];
        line.body.function = static_cast<std::uint32_t>(layout::ReservedFunction::kPing);
        line.body.flags = layout::kRequestBorrows;
        line.body.frame_offset = frame_offset;
        line.sequence.store_release(1);
        link_->ring();
    }
    /// Waits for the end of the connection; what the server says of it.
    std::string poisoned_with() {
        EXPECT_TRUE(wait_until([&] { return end_.losses == 1; }));
        const auto& control = control_of(*link_);
        EXPECT_EQ(control.server.state.load_acquire(), static_cast<std::uint32_t>(layout::RegionState::kPoisoned));
        EXPECT_EQ(control.server.status.load_relaxed(), static_cast<std::uint32_t>(VMRPC_POISONED));
        return control.server_text.data();
    }

  private:
    ClientEnd end_;
    std::unique_ptr<transport::ClientLink> link_;
};

/// The connection ends, its reason is logged, and another client's goes on.
void expect_poisoned(const CapiServer& server, const transport::Wishes& wishes,
                     std::uint64_t (*place)(const RawClient&), const std::string& text) {
    const CapiClient witness(server);
    testing::internal::CaptureStderr();
    {
        RawClient client(server, wishes);
        client.lend(place(client));
        EXPECT_THAT(client.poisoned_with(), HasSubstr(text));
    }
    EXPECT_EQ(capi_call_all(witness.connection), 0) << VMRPC_LAST_ERROR_TEXT();
    const std::string log = testing::internal::GetCapturedStderr();
    EXPECT_THAT(log, HasSubstr("broke the protocol and was ended"));
    EXPECT_THAT(log, HasSubstr(text));
}

layout::StackParts stack_of(const RawClient& client) {
    return layout::parts_of_stack({client.plan().stack_offset(0), client.plan().stack_bytes});
}
std::uint64_t top_of_stack(const RawClient& client) {
    return stack_of(client).execution.end() - 4'096;
}

constexpr auto kNotAgreed = "lends its RPC stack, on a connection without borrow_stack";

TEST(BorrowedHostile, WithoutTrustOfTheServer) {
    expect_poisoned(CapiServer(of_server(0, 0)), {.trust_peer = true, .borrow_stack = true}, top_of_stack, kNotAgreed);
}

TEST(BorrowedHostile, WithoutTrustOfTheClient) {
    expect_poisoned(CapiServer(of_server(1, 1)), {}, top_of_stack, kNotAgreed);
}

TEST(BorrowedHostile, WithTrustAlone) {
    expect_poisoned(CapiServer(of_server(1, 0)), {.trust_peer = true, .borrow_stack = true}, top_of_stack, kNotAgreed);
}

TEST(BorrowedHostile, AtDifferentAddresses) {
    expect_poisoned(CapiServer(of_server(1, 1)), {.trust_peer = true, .borrow_stack = true, .equal_addresses = false},
                    top_of_stack, kNotAgreed);
}

TEST(BorrowedHostile, OutsideOfTheLanesOwnStack) {
    const CapiServer server(of_server(1, 1));
    const transport::Wishes wishes{.trust_peer = true, .borrow_stack = true};
    constexpr auto text = "does not lie in the part of its lane's RPC stack where it may";
    const auto in_guard = [](const RawClient& client) { return stack_of(client).guard.offset; };
    const auto in_frames = [](const RawClient& client) { return stack_of(client).frames.offset + 64; };
    const auto in_other_stack = [](const RawClient& client) {
        return top_of_stack(client) + client.plan().stack_bytes;
    };
    const auto nowhere = [](const RawClient&) { return ~std::uint64_t{0} & ~std::uint64_t{63}; };
    const auto unaligned = [](const RawClient& client) { return top_of_stack(client) + 1; };
    expect_poisoned(server, wishes, in_guard, text);
    expect_poisoned(server, wishes, in_frames, text);
    expect_poisoned(server, wishes, in_other_stack, text);
    expect_poisoned(server, wishes, nowhere, text);
    expect_poisoned(server, wishes, unaligned, text);
}

}  // namespace
}  // namespace vmrpc::test
