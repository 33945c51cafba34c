#include "heap/arguments.hpp"

#include "heap/functions.hpp"
#include "support/measure.hpp"
#include "support/must.hpp"

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <span>
#include <stdexcept>
#include <string>

namespace vmrpc::bench {
namespace {

std::uint64_t sum(std::span<const std::uint64_t> words) {
    return std::accumulate(words.begin(), words.end(), std::uint64_t{0});
}

void serve(const std::string& address, const Report& report) {
    Server server(address,
                  {.spin = std::chrono::nanoseconds(VMRPC_SPIN_ALWAYS), .trust_peer = true, .borrow_stack = true});
    const auto by_value = [](const auto& words) { return sum(words.all); };
    must(server.add<sum_value_256>(by_value));
    must(server.add<sum_value_4096>(by_value));
    must(server.add<sum_words>(sum));
    say_ready(report);
    must(server.run());
}

/// Makes calls with `kCount` words each time, of which every one is `number`.
template <std::size_t kCount, auto kByValue>
class Caller {
  public:
    Caller(const std::string& address, Place place)
        : client_(must(Client::connect(address, {.spin = std::chrono::nanoseconds(VMRPC_SPIN_ALWAYS),
                                                 .trust_peer = true,
                                                 .borrow_stack = place == Place::kBorrowed}))),
          place_(place) {}

    void call(std::uint64_t number) const {
        if (place_ == Place::kFrame) call_by_value(number);
        if (place_ == Place::kOutside) call_from_local(number);
        if (place_ == Place::kStack || place_ == Place::kBorrowed)
            must(on_rpc_stack(client_, [=, this] { call_from_local(number); }));
        if (place_ == Place::kHeap) call_from_heap(number);
    }

  private:
    void call_by_value(std::uint64_t number) const {
        if constexpr (kByValue != nullptr) {
            Words<kCount> words;
            words.all.fill(number);
            check(must(client_.call<kByValue>(words)), number);
        }
    }
    void call_from_local(std::uint64_t number) const {
        Words<kCount> words;
        pass(words.all, number);
    }
    void call_from_heap(std::uint64_t number) const {
        const auto words = must(client_.heap().template make_array<std::uint64_t>(kCount));
        pass(words, number);
    }
    void pass(std::span<std::uint64_t> words, std::uint64_t number) const {
        std::fill(words.begin(), words.end(), number);
        check(must(client_.call<sum_words>(words)), number);
    }
    static void check(std::uint64_t sum, std::uint64_t number) {
        if (sum != kCount * number) throw std::runtime_error("the server's sum is wrong");
    }

    Client client_;
    Place place_;
};

template <std::size_t kBytes, auto kByValue>
Figures call(const Effort& effort, pid_t server, const std::string& address, Place place) {
    const Caller<kBytes / sizeof(std::uint64_t), kByValue> caller(address, place);
    std::uint64_t number = 0;
    return measure(effort, server, [&](int calls) {
        for (int i = 0; i < calls; ++i) caller.call(++number);
    });
}

}  // namespace

Sides argument_sides(ScratchFolder& folder, Place place, std::size_t bytes) {
    const std::string address = "local:" + folder.fresh().string();
    const auto size = bytes == 256    ? call<256, sum_value_256>
                      : bytes == 4096 ? call<4096, sum_value_4096>
                                      : call<65'536, nullptr>;
    return {.serve = [=](const Report& report) { serve(address, report); },
            .call = [=](const Effort& effort, pid_t server) { return size(effort, server, address, place); }};
}

}  // namespace vmrpc::bench
