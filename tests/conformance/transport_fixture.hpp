// What the suites of transport tests stand on.
//
// A transport brings a Harness: default-constructible, with
//     std::string address(int server);   the address of one of several servers, for both sides
#pragma once

#include "ends.hpp"

namespace vmrpc::transport::conformance {

template <class Harness>
class TransportFixture : public ::testing::Test {
  protected:
    std::unique_ptr<Listener> serve(ServerEnd& server, int number = 0, const Wishes& most = {},
                                    std::uint32_t max_connections = 0) {
        auto listener = listen({harness_.address(number), most, max_connections}, server);
        EXPECT_TRUE(listener) << listener.error().text;
        return listener ? std::move(*listener) : nullptr;
    }
    base::Result<std::unique_ptr<ClientLink>> try_join(ClientEnd& client, int number = 0, const Wishes& wishes = {}) {
        return connect({harness_.address(number), wishes, base::Deadline::in(kWatchdogNs)}, client);
    }
    std::unique_ptr<ClientLink> join(ClientEnd& client, int number = 0, const Wishes& wishes = {}) {
        auto link = try_join(client, number, wishes);
        EXPECT_TRUE(link) << link.error().text;
        return link ? std::move(*link) : nullptr;
    }
    static void expect_bytes_travel(const Link& server, const Link& client) {
        using layout::Side;
        word(client, Side::kClient).store_release(0x1122'3344);
        EXPECT_EQ(word(server, Side::kClient).load_acquire(), 0x1122'3344U);
        word(server, Side::kServer).store_release(0x5566'7788);
        EXPECT_EQ(word(client, Side::kServer).load_acquire(), 0x5566'7788U);
    }

    Harness harness_;
};

}  // namespace vmrpc::transport::conformance
