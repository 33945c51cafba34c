// Many clients, each of many threads, call one server in every way at once. In the end every call is accounted for
// exactly once, no memory is kept, and what the server reports is what the clients have done. $VMRPC_TEST_LONG=1:
// longer.
#include "conformance/fixture.hpp"
#include "process/program.hpp"
#include "process/stress_record.hpp"
#include "process/stress_watch.hpp"

#include <nlohmann/json.hpp>

#include <map>
#include <numeric>
#include <sstream>

namespace stress {
namespace {

using process::Program;

/// Longer than a client is patient: it knows better what hangs.
constexpr int kPatience = 180;

std::uint64_t dawdle(std::uint64_t us) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::microseconds(us);
    while (std::chrono::steady_clock::now() < end) {
        if (vmrpc::Caller::cancelled()) throw std::runtime_error(kGaveUpText);
        std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
    return us;
}

vmrpc::Array<std::uint64_t> squares(std::uint64_t count) {
    auto made = vmrpc::make_array<std::uint64_t>(count).value();
    for (std::uint64_t i = 0; i < count; ++i) made[i] = i * i;
    return made;
}

template <class T>
T need(const vmrpc::Result<T>& result) {
    if (!result) throw std::runtime_error(result.error().message());
    return *result;
}

std::uint64_t visit(std::uint64_t count, const vmrpc::Callback<std::uint64_t(std::uint64_t)>& callable) {
    std::uint64_t sum = 0;
    for (std::uint64_t i = 0; i < count; ++i) sum += need(callable(i));
    return sum;
}

void shift(std::span<std::uint64_t> values, std::uint64_t by) {
    for (std::uint64_t& value : values) value += by;
}

class Stress : public testing::Test {
  protected:
    Stress() : server_(address(), {.trust_peer = true, .workers = 4, .max_client_calls = 3}) {
        add_all();
        thread_ = std::thread([this] {
            const auto ran = server_.run();
            EXPECT_TRUE(ran) << ran.error().message();
        });
    }
    ~Stress() override {
        watch_.note(0, "stopping the server");
        server_.stop();
        thread_.join();
    }
    void start_clients(int seconds) {
        for (std::uint32_t i = 0; i < kClients; ++i)
            clients_.push_back(std::make_unique<Program>(
                std::vector<std::string>{VMRPC_TEST_STRESS_CLIENT, address(), std::to_string(i),
                                         std::to_string(seconds), folder_.path().string()}));
    }
    /// Waits until each client is done. Whether all are well.
    [[nodiscard]] bool all_are_done() {
        for (std::uint32_t i = 0; i < kClients; ++i) {
            watch_.note(0, "waiting for a client to be done");
            const std::string line = clients_[i]->line();
            std::istringstream in(line);
            std::string word;
            std::uint64_t calls = 0;
            if (!(in >> word >> calls) || word != "done")
                ADD_FAILURE() << "client " << i << ": " << (line.empty() ? "has ended" : line);
            calls_of_[clients_[i]->pid()] = calls;
        }
        return !HasFailure();
    }
    void let_clients_leave() {
        std::ofstream(leave_path(folder_.path().string())) << "";
        for (std::uint32_t i = 0; i < kClients; ++i) {
            watch_.note(0, "waiting for a client to leave");
            EXPECT_EQ(clients_[i]->line(), "") << "of client " << i;
            EXPECT_EQ(clients_[i]->wait(), 0) << "client " << i;
        }
        EXPECT_TRUE(comes_about([](const nlohmann::json& report) { return report["connection_count"] == 0; }));
    }

    /// Compares the ledgers with what has run here.
    void compare_calls() {
        watch_.note(0, "comparing the ledgers");
        for (std::uint32_t client = 0; client < kClients; ++client) {
            for (std::uint32_t thread = 0; thread < kThreads; ++thread) compare_calls_of(client, thread);
        }
    }
    void compare_report() {
        watch_.note(0, "comparing the report");
        const auto agrees = [&](const nlohmann::json& report) { return difference(report).empty(); };
        EXPECT_TRUE(comes_about(agrees)) << difference(last_report_);
    }
    [[nodiscard]] std::uint64_t count(Fate fate) const {
        std::uint64_t sum = 0;
        for (const auto& function : fates_) sum += function.at(static_cast<std::size_t>(fate));
        return sum;
    }
    [[nodiscard]] std::uint64_t answered(std::size_t function) const {
        return fates_.at(function).at(static_cast<std::size_t>(Fate::kAnswered));
    }

  private:
    [[nodiscard]] std::string address() const { return "local:" + (folder_.path() / "server.sock").string(); }

    void add_all() {
        using enum Function;
        const auto add = [](std::int64_t a, std::int64_t b) { return a + b; };
        const auto fail = [] { throw std::runtime_error(kFailText); };
        const auto note = [] {};
        server_.add<stress::kAdd>(record_.noting<kAdd>(add));
        server_.add<stress::kAddOnWorker>(record_.noting<kAddOnWorker>(add), {.pooled = true});
        server_.add<stress::kDigest>(record_.noting<kDigest>(digest_of));
        server_.add<stress::kShiftOnWorker>(record_.noting<kShiftOnWorker>(shift), {.pooled = true});
        server_.add<stress::kSquares>(record_.noting<kSquares>(squares));
        server_.add<stress::kSquaresOnWorker>(record_.noting<kSquaresOnWorker>(squares), {.pooled = true});
        server_.add<stress::kNote>(record_.noting<kNote>(note));
        server_.add<stress::kNoteOnWorker>(record_.noting<kNoteOnWorker>(note), {.pooled = true, .ordered = true});
        server_.add<stress::kFail>(record_.noting<kFail>(fail));
        server_.add<stress::kDawdle>(record_.noting<kDawdle>(dawdle), {.pooled = true, .max_running = 2});
        // These call back, and say whose call it is.
        const auto ask = [this](Function function) {
            return [this, function](Ticket ticket, std::int64_t value) {
                record_.begin(ticket, function);
                const std::int64_t answer = need(vmrpc::caller().call<kAnswer>(ticket, value));
                record_.succeed(ticket);
                return answer;
            };
        };
        server_.add<stress::kAsk>(ask(kAsk));
        server_.add<stress::kAskOnWorker>(ask(kAskOnWorker), {.pooled = true});
        server_.add<stress::kVisit>(record_.noting<kVisit>(visit));
        ASSERT_TRUE(server_.status()) << server_.status().error().message();
    }

    void compare_calls_of(std::uint32_t client, std::uint32_t thread) {
        const auto posted = read_ledger(ledger_path(folder_.path().string(), client, thread));
        auto runs = record_.of(client, thread);
        EXPECT_LE(runs.size(), posted.size()) << "calls have run that nobody has made";
        runs.resize(posted.size());
        for (std::size_t i = 0; i < posted.size(); ++i) {
            const Posted& call = posted[i];
            const Executed& run = runs[i];
            ++fates_.at(static_cast<std::size_t>(call.function)).at(static_cast<std::size_t>(call.fate));
            succeeded_.at(static_cast<std::size_t>(call.function)) += run.succeeded;
            const bool is_right = fits(call, run) && (run.begun == 0 || run.function == call.function);
            if (is_right) continue;
            ADD_FAILURE() << "call " << i << " of client " << client << ", thread " << thread << ", function "
                          << static_cast<int>(call.function) << ": "
                          << kFateNames.at(static_cast<std::size_t>(call.fate)) << ", but has run "
                          << static_cast<int>(run.begun) << " times, of which " << static_cast<int>(run.succeeded)
                          << " succeeded";
        }
    }
    /// What may have run, and must have.
    static bool fits(const Posted& call, const Executed& run) {
        switch (call.fate) {
            case Fate::kUnknown:
                return false;
            case Fate::kRefused:
            case Fate::kCancelledIdle:
            case Fate::kLateIdle:
                return run.begun == 0;
            case Fate::kAnswered:
                return run.begun == 1 && run.succeeded == 1;
            case Fate::kFailed:
            case Fate::kCancelledBusy:
                return run.begun == 1 && run.succeeded == 0;
            case Fate::kGivenUp:
            case Fate::kDropped:
                return run.begun <= 1;
            case Fate::kOneWay:
                return run.begun == 1 && (run.succeeded == 1) == (call.function != Function::kFail);
        }
        return false;
    }

    /// Where the report differs from what the clients say; empty if it does not.
    [[nodiscard]] std::string difference(const nlohmann::json& report) const {
        std::ostringstream text;
        const auto expect = [&](const auto& what, const nlohmann::json& reported, std::uint64_t expected) {
            if (reported != expected) text << what << ": " << reported << " and not " << expected << "; ";
        };
        expect("connections", report["connection_count"], kClients);
        for (std::size_t i = 0; i < kFunctions; ++i) {
            const auto& function = report["functions"][i];
            const auto& fates = fates_.at(i);
            const std::uint64_t accepted = std::accumulate(fates.begin(), fates.end(), std::uint64_t{0}) -
                                           fates.at(static_cast<std::size_t>(Fate::kRefused));
            expect("calls of " + std::string(function["name"]), function["calls"], accepted);
            expect("errors of " + std::string(function["name"]), function["errors"], accepted - succeeded_.at(i));
        }
        for (const auto& connection : report["connections"]) {
            const std::string name = "connection " + connection["number"].dump();
            const auto calls = calls_of_.find(connection["pid"].get<pid_t>());
            if (calls == calls_of_.end())
                text << name << " is nobody's; ";
            else
                expect("requests of " + name, connection["calls"], calls->second);
            expect("blocks of " + name, connection["live_blocks"], 0);
            expect("bytes of " + name, connection["live_bytes"], 0);
        }
        return text.str();
    }
    /// Soon; only a broken program takes as long as the limit.
    template <class Condition>
    bool comes_about(const Condition& condition) {
        for (int i = 0; i < 6'000; ++i) {
            last_report_ = nlohmann::json::parse(server_.report());
            if (condition(last_report_)) return true;
            std::this_thread::sleep_for(std::chrono::milliseconds(5));
        }
        return false;
    }

    conformance::TemporaryFolder folder_;
    Record record_;
    vmrpc::Server server_;
    Watch watch_{kPatience, [this](const std::string& line) {
                     std::fprintf(stderr, "%s\n%s\n", line.c_str(), server_.report().c_str());
                 }};
    std::thread thread_;
    std::vector<std::unique_ptr<Program>> clients_;
    std::map<pid_t, std::uint64_t> calls_of_;
    std::array<std::array<std::uint64_t, kFates>, kFunctions> fates_{};
    std::array<std::uint64_t, kFunctions> succeeded_{};
    nlohmann::json last_report_;
};

TEST_F(Stress, EveryCallOfManyClientsIsAccountedForOnce) {
    const char* const wish = std::getenv("VMRPC_TEST_LONG");  // NOLINT(concurrency-mt-unsafe): nobody sets it
    start_clients(wish != nullptr && *wish == '1' ? 60 : 5);
    ASSERT_TRUE(all_are_done());
    compare_calls();
    compare_report();
    let_clients_leave();
    for (std::size_t function = 0; function < kFunctions; ++function) {
        const bool always_fails = function == static_cast<std::size_t>(Function::kFail);
        const bool is_one_way = function == static_cast<std::size_t>(Function::kNote) ||
                                function == static_cast<std::size_t>(Function::kNoteOnWorker);
        EXPECT_TRUE(answered(function) != 0 || always_fails || is_one_way) << "function " << function;
    }
    for (std::size_t fate = 0; fate < kFates; ++fate)
        std::printf("%s: %ju\n", kFateNames.at(fate), std::uintmax_t{count(static_cast<Fate>(fate))});
    for (const Fate fate : {Fate::kFailed, Fate::kCancelledIdle, Fate::kGivenUp, Fate::kDropped, Fate::kOneWay})
        EXPECT_NE(count(fate), 0U) << "no call was " << kFateNames.at(static_cast<std::size_t>(fate));
}

}  // namespace
}  // namespace stress
