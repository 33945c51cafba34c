// A client of the stress test: stress-client ADDRESS NUMBER SECONDS FOLDER. Its threads make calls; when all is settled
// it leaves their ledgers in the folder, says "done CALLS", and stays connected until it may leave. What is wrong, and
// what hangs, it says in a line of its own, and ends at once.
#include "process/stress_caller.hpp"

#include <sys/prctl.h>
#include <unistd.h>

#include <barrier>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace stress {
namespace {

/// Looks of the watch, about seconds: more than any step takes on a machine that does much else.
constexpr int kPatience = 90;
/// The watch's number for the thread of main().
constexpr std::size_t kMain = kThreads;

void say(const std::string& line) {
    std::puts(line.c_str());
    std::fflush(stdout);
}

void make_calls(Client& client, std::vector<std::unique_ptr<Caller>>& callers, std::chrono::seconds duration) {
    const auto end = std::chrono::steady_clock::now() + duration;
    std::barrier all_have_called(kThreads);
    std::vector<std::thread> threads;
    for (std::uint32_t i = 0; i < kThreads; ++i) {
        callers.push_back(std::make_unique<Caller>(client, i));
        threads.emplace_back([&, &caller = *callers.back()] {
            caller.call_until(end);
            all_have_called.arrive_and_wait();
            caller.settle_all();
        });
    }
    for (std::thread& thread : threads) thread.join();
}

void run(const char* address, std::uint32_t number, std::chrono::seconds duration, const std::string& folder) {
    Watch watch(kPatience, say);
    watch.note(kMain, "connecting");
    auto connection =
        vmrpc::Client::connect(address, {.timeout = std::chrono::minutes(1), .trust_peer = number % 2 == 1});
    if (!connection) wrong(connection.error().message());
    const auto required = connection->require<kAdd, kAddOnWorker, kDigest, kShiftOnWorker, kSquares, kSquaresOnWorker,
                                              kNote, kNoteOnWorker, kFail, kDawdle, kAsk, kAskOnWorker, kVisit>();
    if (!required) wrong(required.error().message());
    watch.leave(kMain);
    Client client{.connection = *std::move(connection), .number = number, .watch = watch};
    const auto added = client.connection.add<kAnswer>([&client](Ticket ticket, std::int64_t value) {
        if (ticket.client() != client.number) wrong("a call back of another client's call");
        ++client.answers.at(ticket.thread());
        return 3 * value;
    });
    if (!added) wrong(added.error().message());
    std::vector<std::unique_ptr<Caller>> callers;
    make_calls(client, callers, duration);
    if (const auto blocks = client.connection.stats().live_blocks; blocks != 0)
        wrong(std::to_string(blocks) + " blocks of the client's half of the heap were not freed");
    for (std::uint32_t i = 0; i < kThreads; ++i) write_ledger(ledger_path(folder, number, i), callers[i]->ledger());
    say("done " + std::to_string(client.connection.stats().calls));
    while (::access(leave_path(folder).c_str(), F_OK) != 0) ::usleep(5'000);
    watch.note(kMain, "closing the connection");
}

}  // namespace

void wrong(std::string_view what) {
    static std::mutex first;
    first.lock();  // for good
    say("wrong: " + std::string(what));
    std::_Exit(1);
}

}  // namespace stress

int main(int argument_count, char** arguments) {
    if (argument_count != 5) return 2;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    stress::run(arguments[1], static_cast<std::uint32_t>(std::stoul(arguments[2])),
                std::chrono::seconds(std::stoul(arguments[3])), arguments[4]);
    return 0;
}
