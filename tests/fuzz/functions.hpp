// A server's functions, one for each way in which arguments and results travel. They touch every byte that they are
// given: what should not have been let through is found by the address sanitizer.
#pragma once

#include "call/function.hpp"
#include "call/function_table.hpp"
#include "conformance/container_functions.hpp"

#include <vmrpc/view.hpp>
#include <vmrpc/vmrpc.hpp>

#include <array>
#include <cstdint>
#include <numeric>
#include <span>
#include <stdexcept>
#include <string_view>
#include <tuple>
#include <vector>

namespace vmrpc::fuzz {

using Large = std::array<std::uint64_t, 32>;
struct Pair {
    std::uint64_t first;
    std::uint64_t second;
};

class Functions {
  public:
    Functions() {
        add_values();
        add_data();
        add_blocks_and_calls();
    }
    [[nodiscard]] const call::FunctionTable& table() const { return table_; }
    /// Of a user's function; nullptr for the library's own, and where there is none.
    [[nodiscard]] const call::Function* function(std::uint32_t index) const {
        const auto of_user = table_.of_user();
        const std::uint32_t place = index - layout::kReservedFunctions;
        return place < of_user.size() ? of_user[place].function : nullptr;
    }

  private:
    template <auto kFunction, class Callable>
    void add(Callable callable) {
        using Stub = decltype(detail::stub_of<kFunction>());
        std::ignore = detail::add_owned<Stub>(std::move(callable), [this](auto* declaration, auto... entry) {
            const auto status = table_.add({call::registered(*declaration).value().function, entry...});
            return status ? VMRPC_OK : status.error().status;
        });
    }
    void add_values() {
        add<named<"fuzz.nothing", void()>>([] {});
        add<named<"fuzz.add", std::int32_t(std::int32_t, std::int32_t)>>(
            [](std::int32_t one, std::int32_t other) { return one ^ other; });
        add<named<"fuzz.inout", std::uint64_t(Pair&)>>([](Pair& pair) { return pair.first ^ pair.second++; });
        add<named<"fuzz.large", Large(Large, Large&)>>([](Large value, Large& both) {
            std::swap(value, both);
            return value;
        });
        add<named<"fuzz.fails", std::int32_t(Large)>>(
            [](Large /*value*/) -> std::int32_t { throw std::runtime_error("as it always does"); });
    }
    void add_data() {
        add<named<"fuzz.sum", std::uint64_t(std::span<const std::uint64_t>)>>([](std::span<const std::uint64_t> words) {
            return std::accumulate(words.begin(), words.end(), std::uint64_t{0});
        });
        add<named<"fuzz.swap", void(std::span<Pair>, std::span<std::uint8_t>)>>(
            [](std::span<Pair> pairs, std::span<std::uint8_t> bytes) {
                for (Pair& pair : pairs) std::swap(pair.first, pair.second);
                for (std::uint8_t& byte : bytes) byte ^= 1;
            });
        add<named<"fuzz.text", std::uint64_t(std::string_view, InPlace<std::string_view>)>>(
            [](std::string_view text, InPlace<std::string_view> in_place) {
                std::uint64_t sum = text.size();
                for (const char letter : text) sum += static_cast<std::uint8_t>(letter);
                for (const char letter : in_place) sum += static_cast<std::uint8_t>(letter);
                return sum;
            });
        add<named<"fuzz.pointer", std::int64_t(Pair*, Ptr<Large>)>>([](Pair* pair, Ptr<Large> large) {
            if (pair != nullptr) ++pair->first;
            return large ? static_cast<std::int64_t>((*large)[31] >> 1) : 0;
        });
        add<named<"fuzz.view", std::uint64_t(Ptr<conformance::Numbers>)>>([](Ptr<conformance::Numbers> numbers) {
            const auto seen = vmrpc::view(numbers);
            return seen ? std::accumulate(seen->begin(), seen->end(), std::uint64_t{0}) : 0;
        });
    }
    void add_blocks_and_calls() {
        add<named<"fuzz.block", Array<std::int64_t>(std::uint16_t)>>([](std::uint16_t count) {
            auto made = make_array<std::int64_t>(count);
            if (!made) throw std::runtime_error(made.error().text);
            return *std::move(made);
        });
        add<named<"fuzz.free", void(Pair*)>>(
            [](Pair* pair) { std::ignore = vmrpc_free(VMRPC_CALLER()->connection, pair); });
        add<named<"fuzz.asks", std::uint64_t()>>([] {
            const auto answer = caller().call<named<"fuzz.answers", Array<std::int64_t>(std::uint64_t)>>(1U);
            return answer ? std::accumulate(answer->begin(), answer->end(), std::uint64_t{0}) : 0;
        });
        add<named<"fuzz.large_asks", std::uint64_t()>>([] {
            Large large{};
            const auto answer = caller().call<named<"fuzz.large_answers", Large(Large&)>>(large);
            return answer ? (*answer)[0] + large[1] : 0;
        });
    }

    call::FunctionTable table_;
};

inline const Functions& functions() {
    static const Functions made;
    return made;
}

}  // namespace vmrpc::fuzz
