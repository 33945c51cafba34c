#include "vm/floor.hpp"

#include <unistd.h>

#include <cstdint>

namespace vmrpc::bench {
namespace {

FloorLines& lines_of(std::byte* memory, Pause pause) {
    return reinterpret_cast<FloorLines*>(memory)[pause == Pause::kYes ? 1 : 0];
}

template <Pause kPause>
Figures call(const Effort& effort, FloorLines& lines) {
    std::uint64_t number = lines.request.load(std::memory_order_relaxed);  // of the last round
    return measure(effort, ::getpid(), [&](int calls) { exchange_numbers<kPause>(lines, number, calls); });
}

}  // namespace

void floor_echo(std::byte* memory, Pause pause) {
    FloorLines& lines = lines_of(memory, pause);
    pause == Pause::kYes ? echo_numbers<Pause::kYes>(lines) : echo_numbers<Pause::kNo>(lines);
}

Figures floor_call(const Effort& effort, std::byte* memory, Pause pause) {
    FloorLines& lines = lines_of(memory, pause);
    return pause == Pause::kYes ? call<Pause::kYes>(effort, lines) : call<Pause::kNo>(effort, lines);
}

}  // namespace vmrpc::bench
