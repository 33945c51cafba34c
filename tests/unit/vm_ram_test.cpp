// memory=ram: what a hostile guest can say of its pages, and what the service makes of it.
#include "transport/vm/memory_file.hpp"
#include "transport/vm/protocol.hpp"
#include "transport/vm/ram/guest_pages.hpp"
#include "transport/vm/ram/lend_ram.hpp"
#include "transport/vm/ram/ram_host.hpp"
#include "transport/vm/ram/ram_pieces.hpp"
#include "transport/vm/ram/ram_segment.hpp"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <random>
#include <span>
#include <string>
#include <thread>
#include <vector>

namespace vmrpc::transport::vm {
namespace {

constexpr std::uint64_t kMib = std::uint64_t{1} << 20;
constexpr std::uint64_t kGib = std::uint64_t{1} << 30;
constexpr std::uint64_t kMost = std::numeric_limits<std::uint64_t>::max();
constexpr std::uint64_t kPage = kRamPageBytes;

TEST(RamPieces, LieInTheFileAsQ35HasThem) {
    EXPECT_EQ(piece_of({0, kPage}, kGib), (RamPiece{0, kPage}));
    EXPECT_EQ(piece_of({kGib - kPage, kPage}, kGib), (RamPiece{kGib - kPage, kPage}));
    // Up to 2.75 GiB all of it is below the devices.
    EXPECT_EQ(piece_of({0xa000'0000, kPage}, 0xaff0'0000), (RamPiece{0xa000'0000, kPage}));
    EXPECT_EQ(piece_of({4 * kGib, kPage}, 3 * kGib), (RamPiece{2 * kGib, kPage}));
    EXPECT_EQ(piece_of({5 * kGib - kPage, kPage}, 3 * kGib), (RamPiece{3 * kGib - kPage, kPage}));
}

TEST(RamPieces, RefusesWhatIsNoRam) {
    const auto refused = [](std::uint64_t address, std::uint64_t bytes, std::uint64_t ram_bytes) {
        const auto piece = piece_of({address, bytes}, ram_bytes);
        return !piece && piece.error().status == VMRPC_BAD_ARGUMENT;
    };
    EXPECT_TRUE(refused(1, kPage, kGib));
    EXPECT_TRUE(refused(0, kPage - 1, kGib));
    EXPECT_TRUE(refused(0, 0, kGib));
    EXPECT_TRUE(refused(kGib, kPage, kGib));
    EXPECT_TRUE(refused(kGib - kPage, 2 * kPage, kGib));
    EXPECT_TRUE(refused(4 * kGib, kPage, kGib));                  // a small VM has none there
    EXPECT_TRUE(refused(2 * kGib, kPage, 3 * kGib));              // devices
    EXPECT_TRUE(refused(2 * kGib - kPage, 2 * kPage, 3 * kGib));  // from RAM into devices
    EXPECT_TRUE(refused(5 * kGib, kPage, 3 * kGib));
    EXPECT_TRUE(refused(5 * kGib - kPage, 2 * kPage, 3 * kGib));
    EXPECT_TRUE(refused(0, kMost / kPage * kPage, kGib));
    EXPECT_TRUE(refused(kMost / kPage * kPage, kPage, kGib));  // their sum is 0
    EXPECT_TRUE(refused(0, kPage, 0));
}

vmrpc_status status_of(const std::vector<RamRun>& runs, std::uint64_t segment_bytes) {
    const auto pieces = check_runs(runs, segment_bytes, kGib);
    return pieces ? VMRPC_OK : pieces.error().status;
}

TEST(RamPieces, MakeTheSegmentAndNothingElse) {
    EXPECT_EQ(status_of({{0, 8 * kMib}, {16 * kMib, 8 * kMib}}, 16 * kMib), VMRPC_OK);
    EXPECT_EQ(status_of({{16 * kMib, 8 * kMib}, {0, 8 * kMib}}, 16 * kMib), VMRPC_OK);
    EXPECT_EQ(status_of({}, 16 * kMib), VMRPC_BAD_ARGUMENT);
    EXPECT_EQ(status_of({{0, 8 * kMib}}, 16 * kMib), VMRPC_BAD_ARGUMENT);
    EXPECT_EQ(status_of({{0, 16 * kMib}, {16 * kMib, kPage}}, 16 * kMib), VMRPC_BAD_ARGUMENT);
    EXPECT_EQ(status_of({{0, 8 * kMib}, {0, 8 * kMib}}, 16 * kMib), VMRPC_BAD_ARGUMENT);
    EXPECT_EQ(status_of({{8 * kMib - kPage, 8 * kMib}, {0, 8 * kMib}}, 16 * kMib), VMRPC_BAD_ARGUMENT);
    // A sum that wraps around to the right one.
    EXPECT_EQ(status_of({{0, kMost - kPage + 1}, {0, kPage}, {0, 16 * kMib}}, 16 * kMib), VMRPC_BAD_ARGUMENT);
}

// Whatever runs are accepted lie in the file, apart from each other, and make the segment.
TEST(RamPieces, OfAnythingAtAllAreWithinTheFile) {
    std::mt19937_64 random(20'261'123);
    const std::vector<std::uint64_t> numbers{0,    kPage,    2 * kPage, kMib,      16 * kMib, kGib - kPage,
                                             kGib, 4 * kGib, kMost,     kMost / 2, kPage + 1, kMost / kPage * kPage};
    int accepted = 0;
    for (int round = 0; round < 20'000; ++round) {
        std::vector<RamRun> runs(1 + random() % 4);
        for (RamRun& run : runs) run = {numbers[random() % numbers.size()], numbers[random() % numbers.size()]};
        std::uint64_t sum = 0;
        for (const RamRun& run : runs) sum += run.bytes;
        const std::uint64_t ram_bytes = random() % 2 == 0 ? kGib : 3 * kGib;
        const auto pieces = check_runs(runs, sum, ram_bytes);
        if (!pieces) continue;
        ++accepted;
        std::uint64_t left = sum;
        for (const RamPiece& piece : *pieces) {
            ASSERT_TRUE(piece.bytes <= ram_bytes && piece.offset <= ram_bytes - piece.bytes);
            left -= piece.bytes;
            for (const RamPiece& other : *pieces) {
                if (&other == &piece) continue;
                ASSERT_TRUE(other.offset >= piece.offset + piece.bytes || piece.offset >= other.offset + other.bytes);
            }
        }
        ASSERT_EQ(left, 0U);
    }
    EXPECT_GT(accepted, 100);
}

RamHello good_hello() {
    return {.magic = kRamMagic,
            .version = kRamVersion,
            .segment_bytes = kMinSegmentBytes,
            .nonce = 7,
            .run_count = 1,
            .reserved = 0};
}

vmrpc_status status_with(const std::function<void(RamHello&)>& change) {
    RamHello hello = good_hello();
    change(hello);
    const auto checked = check_hello(hello, kGib);
    return checked ? VMRPC_OK : checked.error().status;
}

TEST(RamHello, IsChecked) {
    EXPECT_EQ(status_with([](RamHello&) {}), VMRPC_OK);
    EXPECT_EQ(status_with([](RamHello& hello) { hello.magic = 1; }), VMRPC_BAD_ARGUMENT);
    EXPECT_EQ(status_with([](RamHello& hello) { hello.reserved = 1; }), VMRPC_BAD_ARGUMENT);
    EXPECT_EQ(status_with([](RamHello& hello) { hello.version = 2; }), VMRPC_NOT_SUPPORTED);
    EXPECT_EQ(status_with([](RamHello& hello) { hello.segment_bytes = 0; }), VMRPC_BAD_ARGUMENT);
    EXPECT_EQ(status_with([](RamHello& hello) { hello.segment_bytes += kPage; }), VMRPC_BAD_ARGUMENT);
    EXPECT_EQ(status_with([](RamHello& hello) { hello.segment_bytes = 2 * kGib; }), VMRPC_OUT_OF_RESOURCES);
    EXPECT_EQ(status_with([](RamHello& hello) { hello.segment_bytes = kMost; }), VMRPC_BAD_ARGUMENT);
    EXPECT_EQ(status_with([](RamHello& hello) { hello.run_count = 0; }), VMRPC_BAD_ARGUMENT);
    EXPECT_EQ(status_with([](RamHello& hello) { hello.run_count = kMostRamRuns + 1; }), VMRPC_BAD_ARGUMENT);
    EXPECT_EQ(status_with([](RamHello& hello) { hello.run_count = 0xffff'ffff; }), VMRPC_BAD_ARGUMENT);
}

TEST(GuestPages, FollowEachOtherInRuns) {
    std::vector<RamRun> runs;
    for (const std::uint64_t page : {4U, 5U, 6U, 9U, 8U, 7U, 8U}) append_page(runs, page * kPage);
    ASSERT_EQ(runs.size(), 4U);
    EXPECT_EQ(runs[0].address, 4 * kPage);
    EXPECT_EQ(runs[0].bytes, 3 * kPage);
    EXPECT_EQ(runs[3].address, 7 * kPage);
    EXPECT_EQ(runs[3].bytes, 2 * kPage);
}

TEST(GuestPages, SufficeForTheWishes) {
    EXPECT_EQ(ram_bytes_for({}), kDefaultRamBytes);
    EXPECT_EQ(ram_bytes_for({.heap_bytes = 1}), kMinSegmentBytes);
    for (const std::uint64_t heap_bytes : {kMib, 20 * kMib, 100 * kMib, kGib}) {
        const std::uint64_t bytes = ram_bytes_for({.heap_bytes = heap_bytes});
        EXPECT_GT(bytes, heap_bytes);
        EXPECT_EQ(bytes % (2 * kMib), 0U);
    }
    EXPECT_GE(ram_bytes_for({.heap_bytes = kMost}), kMostRamBytes);  // which no service takes
}

/// A VM's RAM in a file, as its guest writes to it; and a service.
class RamHostTest : public testing::Test, public ListenerEvents {
  protected:
    static constexpr std::uint64_t kRamBytes = 64 * kMib;

    class Stream final : public GuestStream {
      public:
        void send(std::span<const std::byte> bytes) noexcept override {
            said.insert(said.end(), bytes.begin(), bytes.end());
        }
        std::vector<std::byte> said;
    };

    RamHostTest() : folder_("/dev/shm/vmrpc-test-XXXXXX") {
        EXPECT_NE(::mkdtemp(folder_.data()), nullptr);
        EXPECT_TRUE(make_ram_file(path(), kRamBytes));
        service_->sentinel = find_sentinel().value();
        service_->name = "vm:test";
        service_->entries = 2;
        service_->most.heap_bytes = 8 * kMib;
        service_->sink = std::make_shared<EventSink>();
        service_->sink->events = this;
        host_ = std::make_shared<RamHost>(service_, path(), "the test", 1);
    }
    ~RamHostTest() override {
        host_->close();
        std::filesystem::remove_all(folder_);
    }

    void opened(std::unique_ptr<ServerLink> link) override { links_.push_back(std::move(link)); }
    void lost(ServerLink* /*link*/) override { FAIL() << "no connection was made"; }

    [[nodiscard]] std::string path() const { return folder_ + "/a.ram"; }
    /// Pages in pieces of 1 MiB, the last one first.
    [[nodiscard]] static std::vector<RamRun> runs_of(std::uint64_t begin, std::uint64_t bytes = kMinSegmentBytes) {
        std::vector<RamRun> runs;
        for (std::uint64_t end = begin + bytes; end > begin; end -= kMib) runs.push_back({end - kMib, kMib});
        return runs;
    }
    void write_marks(const std::vector<RamRun>& runs, std::uint64_t nonce = 7) const {
        const base::Fd file(::open(path().c_str(), O_RDWR | O_CLOEXEC));
        std::uint64_t offset = 0;
        for (const RamRun& run : runs) {
            const RamMark mark{nonce, offset};
            ASSERT_EQ(::pwrite(file.get(), &mark, sizeof mark, static_cast<off_t>(run.address)),
                      static_cast<ssize_t>(sizeof mark));
            offset += run.bytes;
        }
    }
    [[nodiscard]] std::uint64_t magic_at(const RamRun& run) const {
        const base::Fd file(::open(path().c_str(), O_RDONLY | O_CLOEXEC));
        std::uint64_t magic = 0;
        EXPECT_EQ(::pread(file.get(), &magic, sizeof magic, static_cast<off_t>(run.address)),
                  static_cast<ssize_t>(sizeof magic));
        return magic;
    }
    static std::vector<std::byte> message(const RamHello& hello, const std::vector<RamRun>& runs) {
        const auto said = std::as_bytes(std::span(&hello, 1));
        const auto lent = std::as_bytes(std::span(runs));
        std::vector<std::byte> bytes(said.begin(), said.end());
        bytes.insert(bytes.end(), lent.begin(), lent.end());
        return bytes;
    }
    static RamHello hello_for(const std::vector<RamRun>& runs) {
        RamHello hello = good_hello();
        hello.run_count = static_cast<std::uint32_t>(runs.size());
        hello.segment_bytes = 0;
        for (const RamRun& run : runs) hello.segment_bytes += run.bytes;
        return hello;
    }
    /// Says hello, so many bytes at a time; what was answered.
    RamAnswer lend(std::unique_ptr<RamTalk>& talk, const std::vector<std::byte>& bytes, std::size_t at_once = 7) {
        const auto stream = std::make_shared<Stream>();
        talk = std::make_unique<RamTalk>(host_, stream);
        bool goes_on = true;
        for (std::size_t i = 0; i < bytes.size() && goes_on; i += at_once)
            goes_on = talk->received(std::span(bytes).subspan(i, std::min(at_once, bytes.size() - i)));
        RamAnswer answer{};
        EXPECT_EQ(stream->said.size(), sizeof answer);
        std::memcpy(&answer, stream->said.data(), std::min(sizeof answer, stream->said.size()));
        EXPECT_EQ(answer.magic, kRamMagic);
        EXPECT_EQ(goes_on, answer.status == VMRPC_OK);
        return answer;
    }
    static bool soon(const std::function<bool()>& done) {
        for (int i = 0; i < 5'000 && !done(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(2));
        return done();
    }

    std::string folder_;
    std::shared_ptr<Service> service_ = std::make_shared<Service>();
    std::vector<std::unique_ptr<ServerLink>> links_;
    std::shared_ptr<RamHost> host_;
};

TEST_F(RamHostTest, ServesPagesAndLetsGoOfThem) {
    const auto runs = runs_of(3 * kMib);
    write_marks(runs);
    std::unique_ptr<RamTalk> talk;
    const RamAnswer answer = lend(talk, message(hello_for(runs), runs));
    ASSERT_EQ(answer.status, static_cast<std::uint32_t>(VMRPC_OK)) << answer.text.data();
    EXPECT_EQ(magic_at(runs[0]), layout::kSegmentMagic);
    const std::byte ring{0};
    EXPECT_TRUE(talk->received({&ring, 1}));
    const std::byte leave{kLeave};
    EXPECT_FALSE(talk->received({&leave, 1}));
    talk.reset();
    EXPECT_TRUE(soon([&] { return magic_at(runs[0]) == kRamReleased; }));
}

TEST_F(RamHostTest, EndsASegmentWithItsStreamAndWithTheService) {
    const auto runs = runs_of(0);
    const auto others = runs_of(32 * kMib);
    write_marks(runs);
    write_marks(others);
    std::unique_ptr<RamTalk> talk;
    std::unique_ptr<RamTalk> other;
    EXPECT_EQ(lend(talk, message(hello_for(runs), runs), 1'000).status, static_cast<std::uint32_t>(VMRPC_OK));
    EXPECT_EQ(lend(other, message(hello_for(others), others), 1).status, static_cast<std::uint32_t>(VMRPC_OK));
    talk.reset();
    EXPECT_TRUE(soon([&] { return magic_at(runs[0]) == kRamReleased; }));
    EXPECT_EQ(magic_at(others[0]), layout::kSegmentMagic);
    host_->close();
    EXPECT_TRUE(soon([&] { return magic_at(others[0]) == kRamReleased; }));
}

TEST_F(RamHostTest, RefusesMoreThanItsOptionsAllow) {
    std::vector<std::unique_ptr<RamTalk>> talks(3);
    for (std::uint64_t i = 0; i < 3; ++i) {
        const auto runs = runs_of(i * 16 * kMib);
        write_marks(runs);
        const RamAnswer answer = lend(talks[i], message(hello_for(runs), runs));
        EXPECT_EQ(answer.status, static_cast<std::uint32_t>(i < 2 ? VMRPC_OK : VMRPC_OUT_OF_RESOURCES));
        if (i == 2) {
            EXPECT_NE(std::string(answer.text.data()).find("processes="), std::string::npos) << answer.text.data();
        }
    }
    std::unique_ptr<RamTalk> large;
    RamHello hello = good_hello();
    hello.segment_bytes = host_->most_bytes() + layout::kAreaBytes;
    EXPECT_EQ(lend(large, message(hello, {})).status, static_cast<std::uint32_t>(VMRPC_OUT_OF_RESOURCES));
}

TEST_F(RamHostTest, RefusesWhatTheGuestHasNotWritten) {
    const auto runs = runs_of(0);
    std::unique_ptr<RamTalk> talk;
    const auto refused = [&] {
        const RamAnswer answer = lend(talk, message(hello_for(runs), runs));
        EXPECT_NE(std::string(answer.text.data()).find("share=on"), std::string::npos) << answer.text.data();
        return answer.status == static_cast<std::uint32_t>(VMRPC_NOT_VMRPC);
    };
    EXPECT_TRUE(refused());  // nothing
    write_marks(runs, 8);
    EXPECT_TRUE(refused());  // another's
    write_marks(runs);
    auto other_order = runs;
    std::swap(other_order[3], other_order[4]);
    write_marks(other_order);
    EXPECT_TRUE(refused());
    write_marks(runs);
    EXPECT_EQ(lend(talk, message(hello_for(runs), runs)).status, static_cast<std::uint32_t>(VMRPC_OK));
}

TEST_F(RamHostTest, RefusesAFileThatIsCutOffOrGone) {
    const auto runs = runs_of(16 * kMib);
    write_marks(runs);
    std::unique_ptr<RamTalk> talk;
    std::filesystem::resize_file(path(), 20 * kMib);
    EXPECT_EQ(lend(talk, message(hello_for(runs), runs)).status, static_cast<std::uint32_t>(VMRPC_BAD_ARGUMENT));
    std::filesystem::resize_file(path(), 0);
    EXPECT_EQ(lend(talk, message(hello_for(runs), runs)).status, static_cast<std::uint32_t>(VMRPC_NOT_VMRPC));
    std::filesystem::remove(path());
    EXPECT_EQ(lend(talk, message(hello_for(runs), runs)).status, static_cast<std::uint32_t>(VMRPC_NO_SERVER));
}

TEST_F(RamHostTest, SaysWhatIsWrongWithTheFile) {
    EXPECT_TRUE(host_->check());  // nobody has lent anything
    const auto runs = runs_of(0);
    write_marks(runs);
    std::unique_ptr<RamTalk> talk;
    ASSERT_EQ(lend(talk, message(hello_for(runs), runs)).status, static_cast<std::uint32_t>(VMRPC_OK));
    EXPECT_TRUE(host_->check());
    std::filesystem::resize_file(path(), 48 * kMib);
    EXPECT_EQ(host_->check().error().status, VMRPC_NOT_VMRPC);
    std::filesystem::remove(path());
    EXPECT_EQ(host_->check().error().status, VMRPC_NO_SERVER);
    ASSERT_TRUE(make_ram_file(path(), kRamBytes));
    EXPECT_EQ(host_->check().error().status, VMRPC_NOT_VMRPC);
}

// Hellos of any bytes: an answer, or waiting for more, and nothing else.
TEST_F(RamHostTest, SurvivesAnythingThatAGuestSays) {
    std::mt19937_64 random(4711);
    const auto runs = runs_of(0);
    write_marks(runs);
    const auto good = message(hello_for(runs), runs);
    for (int round = 0; round < 300; ++round) {
        auto bytes = good;
        for (std::size_t i = 0, count = 1 + random() % 3; i < count; ++i)
            bytes[random() % bytes.size()] = static_cast<std::byte>(random());
        const auto stream = std::make_shared<Stream>();
        RamTalk talk(host_, stream);
        const bool goes_on = talk.received(bytes);
        EXPECT_TRUE(goes_on || stream->said.size() == sizeof(RamAnswer));
        if (!goes_on || stream->said.empty()) continue;
        const std::byte leave{kLeave};  // it happened to change nothing
        EXPECT_FALSE(talk.received({&leave, 1}));
    }
}

TEST(RamPiecesTaken, AreBounded) {
    std::vector<std::unique_ptr<RamPiecesTaken>> taken;
    for (int i = 0; i < 2; ++i) {
        auto some = RamPiecesTaken::take(kMostRamRuns);
        ASSERT_TRUE(some);
        taken.push_back(std::move(*some));
    }
    EXPECT_EQ(RamPiecesTaken::take(kMostRamRuns).error().status, VMRPC_OUT_OF_RESOURCES);
    EXPECT_TRUE(RamPiecesTaken::take(1));
    taken.pop_back();
    EXPECT_TRUE(RamPiecesTaken::take(kMostRamRuns));
}

}  // namespace
}  // namespace vmrpc::transport::vm
