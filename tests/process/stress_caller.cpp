#include "process/stress_caller.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <memory>
#include <numeric>
#include <string>
#include <thread>
#include <utility>

namespace stress {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr std::size_t kMostFutures = 12;
constexpr std::size_t kMostOnShelf = 16;
constexpr std::uint64_t kMostUntold = 200;

bool says(const vmrpc::Error& error, std::string_view text) {
    return error.text.find(text) != std::string::npos;
}

/// What an error means for the call. `may_end_early`: it has a limit, or was cancelled.
Fate fate_of(const vmrpc::Error& error, bool may_end_early) {
    if (error.status == VMRPC_BUSY) return Fate::kRefused;
    if (may_end_early) {
        if (error.status == VMRPC_CANCELLED)
            return says(error, "before it ran") ? Fate::kCancelledIdle : Fate::kCancelledBusy;
        if (error.status == VMRPC_TIMED_OUT && says(error, "no reply slot")) return Fate::kRefused;
        if (error.status == VMRPC_TIMED_OUT)
            return says(error, "before a worker could run") ? Fate::kLateIdle : Fate::kGivenUp;
        if (error.status == VMRPC_FUNCTION_FAILED && error.text == kGaveUpText) return Fate::kFailed;
    }
    wrong(fmt::format("a call ended with {}", error.message()));
}

/// Notes what became of a call. Returns whether there is a result.
template <class R>
bool settle(Posted& call, const vmrpc::Result<R>& result, bool may_end_early = false) {
    if (call.fate != Fate::kUnknown) wrong("a call ended twice");
    call.fate = result ? Fate::kAnswered : fate_of(result.error(), may_end_early);
    return result.has_value();
}

void check(bool is_right, std::string_view what) {
    if (!is_right) wrong(what);
}

void check_squares(std::span<const std::uint64_t> squares, std::uint64_t count) {
    check(squares.size() == count, "squares() returned another count");
    for (std::uint64_t i = 0; i < count; ++i) check(squares[i] == i * i, "squares() returned another's data");
}

}  // namespace

Caller::Caller(Client& client, std::uint32_t number)
    : client_(client), number_(number), random_(client.number * kThreads + number + 1) {}

Posted& Caller::next(Function function, Ticket& ticket) {
    ticket = Ticket::of(client_.number, number_, ledger_.size());
    return ledger_.emplace_back(Posted{function, Fate::kUnknown});
}

std::uint64_t Caller::any(std::uint64_t least, std::uint64_t most) {
    return least + random_() % (most - least + 1);
}

/// Elements: within the request's line, a snapshot, in place, several spans of the heap.
std::size_t Caller::any_count() {
    constexpr std::array<std::size_t, 6> kCounts{0, 1, 60, 2'000, 3'000, 20'000};
    return kCounts.at(any(0, one_in(8) ? 5 : 3));
}

vmrpc::Array<std::uint64_t> Caller::any_data() {
    auto made = server().heap().make_array<std::uint64_t>(any_count());
    if (!made) wrong(made.error().message());
    for (std::uint64_t& value : *made) value = random_();
    return *std::move(made);
}

// A further kind of calls is a member, and its line here.
void Caller::call_until(steady_clock::time_point end) {
    struct Kind {
        const char* name;
        void (Caller::*make)();
    };
    constexpr std::array kKinds{
        Kind{"values", &Caller::values},
        Kind{"a span to read", &Caller::digest},
        Kind{"a span to write", &Caller::shift},
        Kind{"a returned block", &Caller::squares},
        Kind{"a function that fails", &Caller::fail},
        Kind{"one-way calls", &Caller::one_way},
        Kind{"a limit", &Caller::within_limit},
        Kind{"data and a limit", &Caller::data_within_limit},
        Kind{"futures", &Caller::futures},
        Kind{"answers that are told", &Caller::told},
        Kind{"a call back", &Caller::ask},
        Kind{"an argument that is called", &Caller::visit},
    };
    while (steady_clock::now() < end) {
        const Kind& kind = kKinds.at(any(0, kKinds.size() - 1));
        client_.watch.note(number_, kind.name);
        (this->*kind.make)();
    }
    client_.watch.note(number_, "what others have left on the shelf");
    for (;;) {
        {
            const std::scoped_lock lock(client_.mutex);
            if (client_.shelf.empty()) return;
        }
        take_from_shelf();
    }
}

void Caller::values() {
    for (std::uint64_t left = any(1, 20); left != 0; --left) {
        Ticket ticket;
        Posted& here = next(Function::kAdd, ticket);
        const auto a = static_cast<std::int64_t>(any(0, 1U << 30));
        const auto sum = server().call<kAdd>(ticket, a, 2);
        if (settle(here, sum)) check(*sum == a + 2, "add() returned another's sum");
    }
    Ticket ticket;
    Posted& on_worker = next(Function::kAddOnWorker, ticket);
    const auto sum = server().call<kAddOnWorker>(ticket, 40, 2);
    if (settle(on_worker, sum)) check(*sum == 42, "add_on_worker() returned another's sum");
}

void Caller::digest() {
    const auto data = any_data();
    Ticket ticket;
    Posted& call = next(Function::kDigest, ticket);
    const auto digest = server().call<kDigest>(ticket, data);
    if (settle(call, digest)) check(*digest == digest_of(data), "digest() saw other data");
}

void Caller::shift() {
    auto data = any_data();
    std::iota(data.begin(), data.end(), ledger_.size());
    const std::uint64_t first = ledger_.size();
    Ticket ticket;
    Posted& call = next(Function::kShiftOnWorker, ticket);
    if (!settle(call, server().call<kShiftOnWorker>(ticket, data, std::uint64_t{1'000}))) return;
    for (std::size_t i = 0; i < data.size(); ++i)
        check(data[i] == first + i + 1'000, "shift_on_worker() has left other data");
}

void Caller::squares() {
    Ticket ticket;
    const std::uint64_t count = any_count();
    const bool is_here = one_in(2);
    Posted& call = next(is_here ? Function::kSquares : Function::kSquaresOnWorker, ticket);
    const auto made = is_here ? server().call<kSquares>(ticket, count) : server().call<kSquaresOnWorker>(ticket, count);
    if (settle(call, made)) check_squares(*made, count);
}

void Caller::fail() {
    Ticket ticket;
    Posted& call = next(Function::kFail, ticket);
    const auto failed = server().call<kFail>(ticket);
    check(!failed, "fail() has succeeded");
    check(failed.error().status == VMRPC_BUSY || failed.error().text == kFailText, failed.error().message());
    call.fate = failed.error().status == VMRPC_BUSY ? Fate::kRefused : Fate::kFailed;
}

void Caller::one_way() {
    for (std::uint64_t left = any(1, 24); left != 0; --left) {
        Ticket ticket;
        const Function function = one_in(8) ? Function::kFail : one_in(2) ? Function::kNote : Function::kNoteOnWorker;
        Posted& call = next(function, ticket);
        const auto posted = function == Function::kFail   ? server().post<kFail>(ticket)
                            : function == Function::kNote ? server().post<kNote>(ticket)
                                                          : server().post<kNoteOnWorker>(ticket);
        if (!settle(call, posted)) continue;
        call.fate = Fate::kOneWay;
        client_.failing_one_way += function == Function::kFail ? 1 : 0;
    }
}

// Some pass in the server's queue, some while the function runs, some not at all.
void Caller::within_limit() {
    const auto limit = microseconds(any(50, one_in(3) ? 100'000 : 3'000));
    Ticket ticket;
    Posted& call = next(Function::kDawdle, ticket);
    const std::uint64_t us = any(0, 1'000);
    const auto done = server().call_within<kDawdle>(limit, ticket, us);
    if (settle(call, done, true)) check(*done == us, "dawdle() returned another's result");
}

// In vectors: the library copies them in, and holds the copies until the server will not touch them any more.
void Caller::data_within_limit() {
    const auto limit = microseconds(any(20, 2'000));
    const std::uint64_t count = any_count();
    Ticket ticket;
    if (one_in(2)) {
        Posted& call = next(Function::kSquaresOnWorker, ticket);
        const auto made = server().call_within<kSquaresOnWorker>(limit, ticket, count);
        if (settle(call, made, true)) check_squares(*made, count);
        return;
    }
    std::vector<std::uint64_t> data(count, 7);
    Posted& call = next(Function::kShiftOnWorker, ticket);
    const bool is_done =
        settle(call, server().call_within<kShiftOnWorker>(limit, ticket, data, std::uint64_t{2}), true);
    const std::uint64_t expected = is_done ? 9 : 7;
    check(std::all_of(data.begin(), data.end(), [&](std::uint64_t value) { return value == expected; }),
          "a vector was written that should not, or not written that should");
}

/// Takes a future's answer: at once or after it is ready, after cancelling it, or not at all.
template <class R, class Check>
Caller::Finish Caller::finish_some_way(vmrpc::Future<R> future, Posted& call, bool may_end_early, Check check_result) {
    const std::uint64_t way = any(0, 7);
    return [future = std::make_shared<vmrpc::Future<R>>(std::move(future)), &call, may_end_early, way, check_result] {
        const bool is_refused = future->token().call == nullptr;
        if (way == 0 && !is_refused) {
            *future = {};
            call.fate = Fate::kDropped;
            return;
        }
        if (way == 1 && !is_refused) check(future->cancel().has_value(), "cancel() has failed");
        if (way == 2) std::ignore = future->wait_for(milliseconds(1));
        const auto result = future->get();
        if (settle(call, result, may_end_early || way == 1)) check_result(*result);
    };
}

Caller::Finish Caller::start_add() {
    Ticket ticket;
    const bool is_here = one_in(2);
    Posted& call = next(is_here ? Function::kAdd : Function::kAddOnWorker, ticket);
    const auto a = static_cast<std::int64_t>(any(0, 1U << 30));
    auto future = is_here ? server().async<kAdd>(ticket, a, 5) : server().async<kAddOnWorker>(ticket, a, 5);
    return finish_some_way(std::move(future), call, false, [a](std::int64_t sum) {
        check(sum == a + 5, "an asynchronous add returned another's sum");
    });
}

Caller::Finish Caller::start_squares() {
    Ticket ticket;
    const bool is_here = one_in(2);
    const std::uint64_t count = any_count();
    Posted& call = next(is_here ? Function::kSquares : Function::kSquaresOnWorker, ticket);
    auto future = is_here ? server().async<kSquares>(ticket, count) : server().async<kSquaresOnWorker>(ticket, count);
    return finish_some_way(std::move(future), call, false, [count](const auto& made) { check_squares(made, count); });
}

Caller::Finish Caller::start_dawdle() {
    Ticket ticket;
    Posted& call = next(Function::kDawdle, ticket);
    const std::uint64_t us = any(0, 1'000);
    auto future = server().async_within<kDawdle>(microseconds(any(50, 20'000)), ticket, us);
    return finish_some_way(std::move(future), call, true, [us](std::uint64_t result) {
        check(result == us, "an asynchronous dawdle() returned another's result");
    });
}

void Caller::futures() {
    std::vector<Finish> flights;
    for (std::uint64_t left = any(1, kMostFutures); left != 0; --left) {
        const std::uint64_t kind = any(0, 7);
        flights.push_back(kind == 0 ? start_dawdle() : kind < 3 ? start_squares() : start_add());
    }
    std::shuffle(flights.begin(), flights.end(), random_);
    if (one_in(2)) put_on_shelf(flights);
    for (const Finish& finish : flights) finish();
    if (one_in(2)) take_from_shelf();
}

void Caller::put_on_shelf(std::vector<Finish>& flights) {
    const std::scoped_lock lock(client_.mutex);
    if (client_.shelf.size() >= kMostOnShelf) return;
    client_.shelf.push_back(std::move(flights.back()));
    flights.pop_back();
}

void Caller::take_from_shelf() {
    Finish finish;
    {
        const std::scoped_lock lock(client_.mutex);
        if (client_.shelf.empty()) return;
        finish.swap(client_.shelf.front());
        client_.shelf.erase(client_.shelf.begin());
    }
    finish();
}

// Whichever thread polls is told.
void Caller::told() {
    for (std::uint64_t left = any(1, 8); left != 0; --left) {
        Ticket ticket;
        Posted& call = next(Function::kAddOnWorker, ticket);
        const auto a = static_cast<std::int64_t>(left);
        ++client_.untold;
        server().async<kAddOnWorker>(ticket, a, 1).then([this, &call, a](const vmrpc::Result<std::int64_t>& sum) {
            if (settle(call, sum)) check(*sum == a + 1, "somebody was told another's sum");
            --client_.untold;
        });
    }
    do {
        const auto polled = server().poll(one_in(4) ? milliseconds(2) : milliseconds(0));
        check(polled.has_value(), "poll() has failed");
    } while (client_.untold > kMostUntold);
}

// Others' calls wait for those that the serving thread executes itself: fewer of them.
void Caller::ask() {
    const std::uint64_t before = client_.answers[number_];
    Ticket ticket;
    const bool is_here = one_in(4);
    Posted& call = next(is_here ? Function::kAsk : Function::kAskOnWorker, ticket);
    const auto value = static_cast<std::int64_t>(any(0, 1U << 30));
    const auto answer = is_here ? server().call<kAsk>(ticket, value) : server().call<kAskOnWorker>(ticket, value);
    if (!settle(call, answer)) return;
    check(*answer == 3 * value, "a call back returned another's result");
    check(client_.answers[number_] == before + 1, "a call back has run twice, or not at all");
}

// What is called makes calls in turn.
void Caller::visit() {
    const std::uint64_t count = any(0, 3);
    std::uint64_t seen = 0;
    const auto add_one = [&](std::uint64_t value) {
        check(value == seen++, "an argument was called out of its turn");
        Ticket ticket;
        Posted& nested = next(Function::kAdd, ticket);
        const auto sum = server().call<kAdd>(ticket, static_cast<std::int64_t>(value), 1);
        return settle(nested, sum) ? static_cast<std::uint64_t>(*sum) : value + 1;
    };
    Ticket ticket;
    Posted& call = next(Function::kVisit, ticket);
    const auto sum = server().call<kVisit>(ticket, count, add_one);
    if (settle(call, sum)) check(*sum == count * (count + 1) / 2 && seen == count, "visit() returned another's sum");
}

// A thread's lanes are swept by that thread: when it calls, and when it polls.
void Caller::settle_all() {
    client_.watch.note(number_, "the end of all that is in flight");
    const auto is_settled = [this] {
        const vmrpc_impl_stats stats = server().stats();
        return client_.untold == 0 && stats.calls_abandoned == 0 && stats.one_way_errors == client_.failing_one_way;
    };
    while (!is_settled()) {
        check(server().poll().has_value(), "poll() has failed");
        Ticket ticket;
        Posted& call = next(Function::kAdd, ticket);
        settle(call, server().call<kAdd>(ticket, 1, 1));
        std::this_thread::sleep_for(milliseconds(2));
    }
    client_.watch.leave(number_);
}

}  // namespace stress
