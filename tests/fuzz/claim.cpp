// The same directory from the guest's side: what the server's side, or another process of the guest, has written there,
// against a process that claims an entry and reads the region that it is offered.
#include "transport/vm/claim.hpp"

#include "fuzz/input.hpp"
#include "layout/plan.hpp"
#include "transport/mapping.hpp"
#include "transport/vm/board.hpp"
#include "transport/vm/doorbell.hpp"

#include <fcntl.h>
#include <sys/mman.h>

#include <cstdlib>
#include <memory>
#include <tuple>

namespace vmrpc::fuzz {
namespace {

using namespace transport::vm;

constexpr std::uint64_t kSegmentBytes = std::uint64_t{8} << 20;
constexpr std::uint32_t kEntries = 2;

/// The memory, as the host has made it: entry 0 offers a region.
const std::shared_ptr<transport::Mapping>& memory(int& file) {
    static const auto made = transport::make_segment_memory(kSegmentBytes);
    static const auto mapping = transport::Mapping::anywhere(made->get(), kSegmentBytes, layout::make_uuid()).value();
    file = made->get();
    return mapping;
}

void format(std::byte* base) {
    std::memset(base, 0, 2 * layout::kAreaBytes);
    layout::format_segment(base, kSegmentBytes, kEntries, {}, "fuzz");
    const auto plan = layout::plan_region(
        layout::kAreaBytes,
        {.lane_count = 2, .stack_bytes = 3 * layout::kAreaBytes, .arena_bytes = layout::kMinArenaBytes});
    layout::format_region(base, plan);
    auto& offer = directory_entry(base, 0).offer;
    offer.region_offset.store_relaxed(plan.region_offset);
    offer.region_bytes.store_relaxed(plan.region_bytes);
}

void claim(std::byte* base, int file, Input& input) {
    const auto header = layout::read_segment(base, kSegmentBytes);
    if (!header) return;
    Board board;
    board.name = "vm:fuzz";
    board.memory = notify::GuardedFd::made_by([file] { return ::fcntl(file, F_DUPFD_CLOEXEC, 0); });
    board.memory_bytes = board.segment_bytes = kSegmentBytes;
    board.is_kept = true;  // no sentinel is started
    board.entries = header->directory_entries;
    board.window = Window::open(board.place(), kSegmentBytes, layout::make_uuid(), 0, false).value();
    const auto passed = base::Deadline::in(1);
    const auto claim = Claim::make(board, {}, passed);
    if (!claim) return;
    auto& offer = board.entry(0).offer;
    offer.state.store_release(input.one_in(8) ? input.take<std::uint32_t>() : 1);
    const auto region = (*claim)->await_offer(passed);
    if (!region || !board.window->map(board.place(), *region)) return;
    (*claim)->mapped();
    std::ignore = (*claim)->server_has_doorbell();
    std::ignore = layout::read_region(board.window->base(), kSegmentBytes, region->offset);
}

}  // namespace
}  // namespace vmrpc::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace vmrpc::fuzz;
    Input input(data, size);
    int file = -1;
    std::byte* const base = memory(file)->base();
    format(base);
    for (std::uint32_t places = input.below(6); places != 0; --places) {
        auto& entry = directory_entry(base, input.below(kEntries));
        input.scribble({reinterpret_cast<std::byte*>(&entry), sizeof entry});
    }
    input.spoil(*reinterpret_cast<vmrpc::layout::SegmentHeader*>(base));
    input.spoil(reinterpret_cast<vmrpc::layout::ControlPage*>(base + vmrpc::layout::kAreaBytes)->plan);
    claim(base, file, input);
    return 0;
}
