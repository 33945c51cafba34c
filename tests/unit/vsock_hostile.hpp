// The tests of those who break the rules: each is disconnected with one line in the log, and nobody else notices.
#pragma once

#include "unit/vsock_fake_qemu.hpp"

#include <algorithm>

namespace vmrpc::transport::vm::vsock {

class VsockHostile : public testing::Test {
  protected:
    VsockHostile() {
        bystander.start();
        bystander.make_room(8);
        known = bystander.open(kPorts);
        testing::internal::CaptureStderr();
    }
    ~VsockHostile() override {
        EXPECT_TRUE(bystander.backend().send(known, bytes_of_text("x")));
        EXPECT_EQ(bystander.take_packet().data, "x");
        bystander.send(VIRTIO_VSOCK_OP_RW, kPorts, "y");
        EXPECT_TRUE(bystander.events.comes(known, "y"));
        EXPECT_EQ(bystander.events.ends, 0);
    }

    /// That `vm` is let go with a log of one line that says `text`.
    static void expect_let_go(FakeVm& vm, const std::string& text) {
        EXPECT_TRUE(vm.is_disconnected()) << text;
        const std::string log = testing::internal::GetCapturedStderr();
        testing::internal::CaptureStderr();
        EXPECT_NE(log.find(text), std::string::npos) << "wanted: " << text << "\nlog: " << log;
        EXPECT_EQ(std::count(log.begin(), log.end(), '\n'), 1) << log;
    }
    /// The same of a VM that has been set up and then sends this.
    template <class... Arguments>
    static void expect_refused(const std::string& text, const Arguments&... arguments) {
        FakeVm vm;
        vm.start();
        vm.request(arguments...);
        expect_let_go(vm, text);
    }
    void TearDown() override { EXPECT_EQ(testing::internal::GetCapturedStderr(), ""); }

    FakeVm bystander;
    StreamId known{};  // the bystander's
};

}  // namespace vmrpc::transport::vm::vsock
