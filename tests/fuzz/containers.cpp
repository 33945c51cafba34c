// Containers in the heap whose words the client changes, against a server's views, visits and copies of them.
#include "conformance/container_functions.hpp"
#include "fuzz/input.hpp"

#include <vmrpc/view.hpp>

#include <unistd.h>

#include <memory>
#include <numeric>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

namespace vmrpc::fuzz {
namespace {

using namespace conformance;

/// What a circle may cost: enough to come out of what is there, and around it some times.
constexpr WalkBudget kBudget{.steps = 2'000, .bytes = 100'000};

constexpr auto kViewNumbers = named<"fuzz.view_numbers", std::uint64_t(Ptr<Numbers>)>;
constexpr auto kViewText = named<"fuzz.view_text", std::uint64_t(Ptr<String>)>;
constexpr auto kCopyGroups = named<"fuzz.copy_groups", std::uint64_t(Ptr<Groups>)>;
constexpr auto kVisitGroups = named<"fuzz.visit_groups", std::uint64_t(Ptr<Groups>)>;
constexpr auto kVisitCounts = named<"fuzz.visit_counts", std::uint64_t(Ptr<Counts>)>;
constexpr auto kCopyWords = named<"fuzz.copy_words", std::uint64_t(Ptr<Words>)>;

/// Of anything: without the sign, as numbers that a client wrote overflow.
std::uint64_t sum_of(const auto& numbers) {
    return std::accumulate(numbers.begin(), numbers.end(), std::uint64_t{0});
}

void add_views(Server& server) {
    server.add<kViewNumbers>([](Ptr<Numbers> numbers) {
        const auto seen = view(numbers);
        return seen ? sum_of(*seen) : std::uint64_t{0};
    });
    server.add<kViewText>([](Ptr<String> text) {
        const auto seen = view(text);
        return seen ? sum_of(seen->text()) : std::uint64_t{0};
    });
    server.add<kCopyGroups>([](Ptr<Groups> groups) {
        std::uint64_t sum = 0;
        if (const auto copy = copy_out(groups, kBudget))
            for (const auto& [name, numbers] : *copy) sum += sum_of(name) + sum_of(numbers);
        return sum;
    });
    server.add<kVisitGroups>([](Ptr<Groups> groups) {
        std::uint64_t sum = 0;
        std::ignore = visit(
            groups, [&](const auto& name, const auto& numbers) { sum += sum_of(name) + sum_of(numbers); }, kBudget);
        return sum;
    });
    server.add<kVisitCounts>([](Ptr<Counts> counts) {
        std::uint64_t sum = 0;
        std::ignore = visit(
            counts,
            [&](const std::string& name, std::int64_t count) {
                sum += sum_of(name) + static_cast<std::uint64_t>(count);
            },
            kBudget);
        return sum;
    });
    server.add<kCopyWords>([](Ptr<Words> words) {
        std::uint64_t sum = 0;
        if (const auto copy = copy_out(words, kBudget))
            for (const std::string& word : *copy) sum += sum_of(word);
        return sum;
    });
}

/// A server in a thread, and containers of a client's that it does not trust. Lives as long as the
/// program.
class World {
  public:
    World() {
        address_ = "local:fuzz-containers-" + std::to_string(::getpid()) + ".sock";
        server_ = std::make_unique<Server>(address_);
        add_views(*server_);
        thread_ = std::thread([this] { std::ignore = server_->run(); });
        client_ = std::make_unique<Client>(Client::connect(address_).value());
        const UseHeap use(client_->heap());
        numbers_ = client_->heap().make<Numbers>(20U, 1).value();
        text_ = client_->heap().make<String>(100U, 'x').value();
        words_ = client_->heap().make<Words>(5U).value();
        groups_ = client_->heap().make<Groups>().value();
        counts_ = client_->heap().make<Counts>().value();
        for (int i = 0; i < 9; ++i) {
            (*groups_)[("long enough to be in the heap " + std::to_string(i)).c_str()].assign(3, i);
            (*counts_)[std::to_string(i).c_str()] = i;
            if (i < 5) (*words_)[static_cast<std::size_t>(i)].assign(30, 'w');
        }
        note_words();
    }
    World(const World&) = delete;
    World& operator=(const World&) = delete;
    ~World() {
        server_->stop();
        thread_.join();
        numbers_.reset(), text_.reset(), words_.reset(), groups_.reset(), counts_.reset();
        client_.reset();
    }

    /// Changes a word, until undo(): to anything, or to what misleads.
    void change(Input& input) {
        std::uint64_t* const word = words_of_all_[input.take<std::uint16_t>() % words_of_all_.size()];
        changed_.emplace_back(word, *word);
        const std::uint64_t* const other = words_of_all_[input.take<std::uint16_t>() % words_of_all_.size()];
        const std::uint64_t values[] = {
            input.take<std::uint64_t>(),
            *word + input.take<std::uint8_t>() - 128,
            *word ^ (std::uint64_t{1} << input.below(64)),
            reinterpret_cast<std::uintptr_t>(other) - reinterpret_cast<std::uintptr_t>(word) - 1,
            reinterpret_cast<std::uintptr_t>(other),
            *other};
        *static_cast<volatile std::uint64_t*>(word) = values[input.below(6)];
    }
    void look(std::uint32_t how) {
        switch (how) {
            case 0:
                return std::ignore = client_->call<kViewNumbers>(numbers_.ptr()), void();
            case 1:
                return std::ignore = client_->call<kViewText>(text_.ptr()), void();
            case 2:
                return std::ignore = client_->call<kCopyGroups>(groups_.ptr()), void();
            case 3:
                return std::ignore = client_->call<kVisitGroups>(groups_.ptr()), void();
            case 4:
                return std::ignore = client_->call<kVisitCounts>(counts_.ptr()), void();
            default:
                return std::ignore = client_->call<kCopyWords>(words_.ptr()), void();
        }
    }
    void undo() {
        for (; !changed_.empty(); changed_.pop_back()) *changed_.back().first = changed_.back().second;
    }

  private:
    /// All that the containers are made of lies from the first block on, in the order in which it was allocated.
    void note_words() {
        const auto add = [this](void* object, std::size_t before, std::size_t bytes) {
            auto* const first = static_cast<std::uint64_t*>(object) - before / 8;
            for (std::size_t i = 0; i < (before + bytes) / 8; ++i) words_of_all_.push_back(first + i);
        };
        add(numbers_.get(), 0, sizeof(Numbers));
        add(text_.get(), 0, sizeof(String));
        add(words_.get(), 0, sizeof(Words));
        add(groups_.get(), 0, sizeof(Groups));
        add(counts_.get(), 0, sizeof(Counts));
        for (auto& word : *words_) add(&word, 0, sizeof word);
        for (auto& element : *groups_) add(const_cast<String*>(&element.first), 32, sizeof element);  // with links
        for (auto& element : *counts_) add(const_cast<String*>(&element.first), 8, sizeof element);
    }

    std::string address_;
    std::unique_ptr<Server> server_;
    std::thread thread_;
    std::unique_ptr<Client> client_;
    Owned<Numbers> numbers_;
    Owned<String> text_;
    Owned<Words> words_;
    Owned<Groups> groups_;
    Owned<Counts> counts_;
    std::vector<std::uint64_t*> words_of_all_;
    std::vector<std::pair<std::uint64_t*, std::uint64_t>> changed_;
};

}  // namespace
}  // namespace vmrpc::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace vmrpc::fuzz;
    static World world;
    Input input(data, size);
    for (int round = 0; round < 8 && !input.is_empty(); ++round) {
        const std::uint32_t how = input.below(6);
        for (std::uint32_t changes = 1 + input.below(4); changes != 0; --changes) world.change(input);
        world.look(how);
        if (input.flag()) world.undo();
    }
    world.undo();
    return 0;
}
