#include "transport/address_space.hpp"

#include "base/fd.hpp"

#include <fcntl.h>
#include <sys/random.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <string>

namespace vmrpc::transport {
namespace {

base::Result<std::string> read_whole(const char* path) {
    const base::Fd file(::open(path, O_RDONLY | O_CLOEXEC));
    if (!file.valid()) return base::fail_errno(path, errno);
    std::string text;
    constexpr std::size_t step = std::size_t{64} * 1024;
    while (true) {
        const std::size_t have = text.size();
        text.resize(have + step);
        const ssize_t got = ::read(file.get(), text.data() + have, step);
        if (got < 0) return base::fail_errno(path, errno);
        text.resize(have + static_cast<std::size_t>(got));
        if (got == 0) return text;
    }
}

}  // namespace

SlotMap SlotMap::all_free() {
    SlotMap map;
    for (std::uint32_t slot = 0; slot < kSlotCount; ++slot) map.words_[slot / 64] |= std::uint64_t{1} << (slot % 64);
    return map;
}

void SlotMap::use(std::uint64_t begin, std::uint64_t end) {
    begin = std::max(begin, kFirstSlot);
    end = std::min(end, kFirstSlot + kSlotCount * kSlotBytes);
    if (begin >= end) return;
    for (std::uint64_t slot = (begin - kFirstSlot) / kSlotBytes; slot <= (end - 1 - kFirstSlot) / kSlotBytes; ++slot)
        words_[slot / 64] &= ~(std::uint64_t{1} << (slot % 64));
}

SlotMap SlotMap::operator&(const SlotMap& other) const {
    SlotMap both;
    for (std::size_t word = 0; word < kWords; ++word) both.words_[word] = words_[word] & other.words_[word];
    return both;
}

std::optional<std::uint64_t> SlotMap::find(std::uint64_t bytes, std::uint32_t start) const {
    if (bytes == 0 || bytes > kSlotCount * kSlotBytes) return std::nullopt;
    const auto wanted = static_cast<std::uint32_t>((bytes + kSlotBytes - 1) / kSlotBytes);
    // Two rounds: a run that begins in front of `start` may reach over it.
    std::uint32_t run = 0;
    for (std::uint32_t step = 0; step < 2 * kSlotCount; ++step) {
        const std::uint32_t slot = (start + step) % kSlotCount;
        if (slot == 0) run = 0;  // the last slot and the first are not adjacent
        run = is_free(slot) ? run + 1 : 0;
        if (run == wanted) return kFirstSlot + (slot + 1 - wanted) * kSlotBytes;
    }
    return std::nullopt;
}

SlotMap free_slots_of(std::string_view maps) {
    SlotMap slots = SlotMap::all_free();
    while (!maps.empty()) {
        const std::string_view line = maps.substr(0, maps.find('\n'));
        std::uint64_t begin = 0;
        std::uint64_t end = 0;
        const char* line_end = line.data() + line.size();
        const auto [dash, first_error] = std::from_chars(line.data(), line_end, begin, 16);
        if (first_error == std::errc() && dash != line_end && *dash == '-' &&
            std::from_chars(dash + 1, line_end, end, 16).ec == std::errc())
            slots.use(begin, end);
        maps.remove_prefix(std::min(line.size() + 1, maps.size()));
    }
    return slots;
}

base::Result<SlotMap> own_free_slots() {
    const auto maps = read_whole("/proc/self/maps");
    if (!maps) return tl::unexpected(maps.error());
    return free_slots_of(*maps);
}

std::uint32_t random_slot() {
    std::uint32_t value = 0;
    // Without randomness connections only clash more often.
    [[maybe_unused]] const auto got = ::getrandom(&value, sizeof value, GRND_NONBLOCK);
    return value % kSlotCount;
}

}  // namespace vmrpc::transport
