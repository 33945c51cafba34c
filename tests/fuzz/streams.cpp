// What a guest's process says on its stream (vsock, virtio-serial): rings, the hello of an entry, pages that it lends.
#include "fuzz/input.hpp"
#include "notify/housekeeper.hpp"
#include "transport/vm/protocol.hpp"
#include "transport/vm/ram/ram_host.hpp"
#include "transport/vm/ram/ram_pieces.hpp"
#include "transport/vm/ram/ram_segment.hpp"
#include "transport/vm/ring_reader.hpp"
#include "transport/vm/ring_streams.hpp"

#include <sys/mman.h>
#include <sys/socket.h>

#include <array>
#include <cstdlib>
#include <memory>
#include <tuple>
#include <vector>

namespace vmrpc::fuzz {
namespace {

using namespace transport::vm;

constexpr std::uint64_t kRamBytes = std::uint64_t{64} << 20;
constexpr layout::Uuid kSegment{1, 2, 3};

std::shared_ptr<Service> service() {
    auto made = std::make_shared<Service>();
    made->name = "vm:fuzz";
    made->entries = 2;
    made->most.heap_bytes = std::uint64_t{8} << 20;
    made->sink = std::make_shared<transport::EventSink>();
    return made;
}

template <class T>
void append(std::vector<std::byte>& to, const T& value) {
    const auto bytes = std::as_bytes(std::span(&value, 1));
    to.insert(to.end(), bytes.begin(), bytes.end());
}

/// What a process says, mostly as one of ours; its runs too.
std::vector<std::byte> said(Input& input, std::vector<RamRun>& runs, RamHello& hello) {
    std::vector<std::byte> bytes;
    for (int part = 0; part < 6 && !input.is_empty(); ++part) {
        StreamHello stream{.magic = kStreamMagic, .entry = input.below(3), .segment_uuid = kSegment};
        switch (input.below(4)) {
            case 0:
                append(bytes, static_cast<std::uint8_t>(input.below(4)));
                break;
            case 1:
                if (input.flag()) input.spoil(stream);
                append(bytes, stream);
                break;
            case 2:
                for (const std::byte each : input.take_bytes(40)) bytes.push_back(each);
                break;
            default:
                runs.resize(1 + input.below(3));
                hello = {kRamMagic, kRamVersion, 0, 7, static_cast<std::uint32_t>(runs.size()), 0};
                for (RamRun& run : runs) {
                    run = {std::uint64_t{input.below(64)} << 20, std::uint64_t{input.below(24)} << 20};
                    if (input.one_in(4)) input.spoil(run);
                    hello.segment_bytes += run.bytes;
                }
                if (input.one_in(4)) input.spoil(hello);
                append(bytes, hello);
                for (const RamRun& run : runs) append(bytes, run);
        }
    }
    return bytes;
}

/// Pages that were lent are mapped, if the guest's marks are in them.
void map_runs(Input& input, const std::vector<RamRun>& runs, const RamHello& hello) {
    auto pieces = check_runs(runs, hello.segment_bytes, kRamBytes);
    if (!pieces) return;
    std::uint64_t sum = 0;
    for (const RamPiece& piece : *pieces) {
        if (!layout::holds({0, kRamBytes}, piece.offset, piece.bytes)) std::abort();
        sum += piece.bytes;
    }
    if (sum != hello.segment_bytes) std::abort();
    RamFile ram{notify::GuardedFd::made_by([] { return ::memfd_create("fuzz-ram", MFD_CLOEXEC); }), kRamBytes};
    std::ignore = ::ftruncate(ram.file.get(), kRamBytes);
    std::uint64_t offset = 0;
    for (const RamPiece& piece : *pieces) {
        RamMark mark{hello.nonce, offset};
        if (input.one_in(8)) input.spoil(mark);
        std::ignore = ::pwrite(ram.file.get(), &mark, sizeof mark, static_cast<off_t>(piece.offset));
        offset += piece.bytes;
    }
    std::ignore = RamSegment::map(ram, "/dev/null/ram", std::move(*pieces), hello.nonce);
}

void talk(Input& input, std::span<const std::byte> bytes) {
    // Kept by one watch, so that the housekeeping thread is not started anew each time.
    static const auto housekeeping = notify::after(std::int64_t{1} << 60, [] {});
    std::array<int, 2> ends{-1, -1};
    auto socket = notify::GuardedFd::made_by([&] {
        std::ignore = ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends.data());
        return ends[0];
    });
    const base::Fd qemu(ends[1]);
    const auto host = std::make_shared<RamHost>(service(), "/dev/null/ram", "fuzz", 1);
    const auto vm = Vm::make(*service(), {}).value();
    RingStreams streams(vm, kSegment, input.flag() ? host : nullptr, [] {});
    if (!streams.start(std::move(socket), 42)) return;
    constexpr vsock::StreamId stream{1};
    std::ignore = streams.opened(stream, 5000, kVsockPort);
    while (!bytes.empty()) {
        const std::size_t now = std::min<std::size_t>(bytes.size(), 1 + input.below(64));
        std::ignore = streams.received(stream, bytes.first(now));
        bytes = bytes.subspan(now);
    }
    streams.closed(stream);
    host->close();
}

}  // namespace
}  // namespace vmrpc::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace vmrpc::fuzz;
    Input input(data, size);
    std::vector<RamRun> runs;
    RamHello hello{};
    const auto bytes = said(input, runs, hello);
    RingReader reader(kSegment, 1 + input.below(255),
                      input.flag() ? RingReader::Lending::kYes : RingReader::Lending::kNo);
    std::span<const std::byte> left = bytes;
    while (!left.empty()) {
        const std::size_t now = std::min<std::size_t>(left.size(), 1 + input.below(64));
        const auto heard = reader.take(left.first(now));
        if (heard.lends) break;
        left = left.subspan(now);
    }
    if (!runs.empty() && runs.size() == hello.run_count) map_runs(input, runs, hello);
    talk(input, bytes);
    return 0;
}
