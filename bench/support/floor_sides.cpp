#include "support/floor_sides.hpp"

#include "support/shared_page.hpp"

#include <cstdint>
#include <memory>

namespace vmrpc::bench {
namespace {

template <Pause kPause>
Sides make_sides() {
    auto page = std::make_shared<SharedPage>();
    return {.serve =
                [page](const Report& report) {
                    say_ready(report);
                    echo_numbers<kPause>(page->as<FloorLines>());
                },
            .call =
                [page](const Effort& effort, pid_t server) {
                    auto& lines = page->as<FloorLines>();
                    std::uint64_t number = 0;
                    return measure(effort, server, [&](int calls) { exchange_numbers<kPause>(lines, number, calls); });
                }};
}

}  // namespace

Sides floor_sides(Pause pause) {
    return pause == Pause::kYes ? make_sides<Pause::kYes>() : make_sides<Pause::kNo>();
}

}  // namespace vmrpc::bench
