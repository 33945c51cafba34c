#include "kinds.hpp"

#include "failure.hpp"
#include "functions.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <utility>

namespace demo {
namespace {

constexpr std::array<std::size_t, 3> kLengths{100, 10'000, 100'000};
constexpr std::size_t kStringBytes = 10;  // with the NUL
constexpr double kSecondsEach = 0.12;
constexpr std::size_t kLeastCalls = 5;
constexpr std::string_view kNoRoom = "no room for the data in the RPC heap";

/// What the data consists of; `seed` differs from call to call, so that old data would be noticed.
char letter(std::size_t index, std::size_t seed) {
    return static_cast<char>('a' + (index + seed) % 26);
}
Fixed fixed(std::size_t index, std::size_t seed) {
    return {static_cast<int>(index), static_cast<int>(seed), 0.5 * static_cast<double>(index)};
}

// Each kind: how it is built, what the server is asked, and what it must answer.

struct BytesKind {
    static constexpr const char* kName = "bytes     char[10×LEN]";
    static constexpr std::size_t kElementBytes = 10;
    vmrpc::Array<char> values;

    BytesKind(const vmrpc::Heap& heap, std::size_t length, std::size_t seed)
        : values(must(heap.make_array<char>(length * kElementBytes), kNoRoom)) {
        std::memset(values.data(), letter(0, seed), values.size());
    }
    [[nodiscard]] auto sum(const vmrpc::Client& client) const { return client.call<sum_bytes>(values); }
    static double expected(std::size_t length, std::size_t seed) {
        return static_cast<double>(length * kElementBytes) * letter(0, seed);
    }
};

struct FixedKind {
    static constexpr const char* kName = "fixed     {int i; int j; double d;}";
    static constexpr std::size_t kElementBytes = sizeof(Fixed);
    vmrpc::Array<Fixed> values;

    FixedKind(const vmrpc::Heap& heap, std::size_t length, std::size_t seed)
        : values(must(heap.make_array<Fixed>(length), kNoRoom)) {
        for (std::size_t i = 0; i < length; ++i) values[i] = fixed(i, seed);
    }
    [[nodiscard]] auto sum(const vmrpc::Client& client) const { return client.call<sum_fixed>(values); }
    static double expected(std::size_t length, std::size_t seed) {
        double sum = 0;
        for (std::size_t i = 0; i < length; ++i) sum += fixed(i, seed).i + fixed(i, seed).j + fixed(i, seed).d;
        return sum;
    }
};

struct VariableKind {
    static constexpr const char* kName = "variable  {char *s; double d;}";
    static constexpr std::size_t kElementBytes = sizeof(Variable) + kStringBytes;
    const vmrpc::Heap& heap;
    vmrpc::Array<Variable> values;

    VariableKind(const vmrpc::Heap& given, std::size_t length, std::size_t seed)
        : heap(given), values(must(heap.make_array<Variable>(length), kNoRoom)) {
        for (std::size_t i = 0; i < length; ++i) {
            char* text = static_cast<char*>(must(heap.allocate(kStringBytes, 1), kNoRoom));
            std::memset(text, letter(i, seed), kStringBytes - 1);
            text[kStringBytes - 1] = '\0';
            values[i] = {text, 0.5 * static_cast<double>(i)};
        }
    }
    VariableKind(const VariableKind&) = delete;
    VariableKind& operator=(const VariableKind&) = delete;
    ~VariableKind() {
        for (const Variable& value : values) static_cast<void>(heap.free(value.s));
    }
    [[nodiscard]] auto sum(const vmrpc::Client& client) const { return client.call<sum_variable>(values); }
    static double expected(std::size_t length, std::size_t seed) {
        double sum = 0;
        for (std::size_t i = 0; i < length; ++i)
            sum += static_cast<double>(kStringBytes - 1) * letter(i, seed) + 0.5 * static_cast<double>(i);
        return sum;
    }
};

using Clock = std::chrono::steady_clock;

/// Runs `one(seed)`, which returns whether the sum was right, again and again; the median duration.
template <class One>
double median_us(KindReport& report, One one) {
    std::vector<double> durations_us;
    const auto begin = Clock::now();
    while (durations_us.size() < kLeastCalls ||
           std::chrono::duration<double>(Clock::now() - begin).count() < kSecondsEach) {
        durations_us.push_back(one(durations_us.size() % 100, report.different));
        ++report.calls;
    }
    const auto middle = durations_us.begin() + static_cast<std::ptrdiff_t>(durations_us.size() / 2);
    std::nth_element(durations_us.begin(), middle, durations_us.end());
    return *middle;
}

double us_since(Clock::time_point start) {
    return std::chrono::duration<double, std::micro>(Clock::now() - start).count();
}

template <class Kind>
double call_with_built(const vmrpc::Client& client, const vmrpc::Heap& heap, std::size_t length, std::size_t seed,
                       std::uint64_t& different) {
    const auto start = Clock::now();
    double sum = 0;
    {
        const Kind data(heap, length, seed);
        sum = must(data.sum(client), Kind::kName);
    }
    const double us = us_since(start);
    if (sum != Kind::expected(length, seed)) ++different;
    return us;
}

template <class Kind>
KindReport measure(const vmrpc::Client& client, std::size_t length, Progress& progress) {
    progress.step(fmt::format("{}, LEN {}", Kind::kName, length));
    KindReport report;
    report.kind = Kind::kName;
    report.length = length;
    report.bytes = length * Kind::kElementBytes;
    const vmrpc::Heap heap = client.heap();
    report.built_us = median_us(report, [&](std::size_t seed, std::uint64_t& different) {
        return call_with_built<Kind>(client, heap, length, seed, different);
    });
    const std::size_t seed = 7;
    const Kind data(heap, length, seed);
    const double expected = Kind::expected(length, seed);
    report.in_heap_us = median_us(report, [&](std::size_t, std::uint64_t& different) {
        const auto start = Clock::now();
        const double sum = must(data.sum(client), Kind::kName);
        const double us = us_since(start);
        if (sum != expected) ++different;
        return us;
    });
    return report;
}

template <class Kind>
void check(const vmrpc::Client& client, KindsCheck& checked) {
    const vmrpc::Heap heap = client.heap();
    for (const std::size_t length : kLengths) {
        call_with_built<Kind>(client, heap, length, checked.calls, checked.different);
        ++checked.calls;
    }
}

}  // namespace

std::vector<KindReport> measure_kinds(const vmrpc::Client& client, Progress& progress) {
    std::vector<KindReport> reports;
    reports.reserve(3 * kLengths.size());
    for (const std::size_t length : kLengths) reports.push_back(measure<BytesKind>(client, length, progress));
    for (const std::size_t length : kLengths) reports.push_back(measure<FixedKind>(client, length, progress));
    for (const std::size_t length : kLengths) reports.push_back(measure<VariableKind>(client, length, progress));
    return reports;
}

KindsCheck check_kinds(const vmrpc::Client& client) {
    KindsCheck checked;
    check<BytesKind>(client, checked);
    check<FixedKind>(client, checked);
    check<VariableKind>(client, checked);
    return checked;
}

}  // namespace demo
