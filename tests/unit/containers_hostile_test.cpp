// Containers of a client that writes what it likes into them: the server's views, visits and copies end, with an error
// that says what was wrong or with what they found, and the connection goes on.
#include "conformance/container_functions.hpp"
#include "conformance/fixture.hpp"

#include <vmrpc/view.hpp>

#include <gmock/gmock.h>

#include <atomic>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <span>
#include <string>
#include <thread>
#include <vector>

namespace conformance {
namespace {

using ::testing::HasSubstr;

/// Changes a word of the heap, and puts it back.
class Scribble {
  public:
    Scribble(void* at, std::uint64_t value) : at_(static_cast<volatile std::uint64_t*>(at)), before_(*at_) {
        *at_ = value;
    }
    Scribble(const Scribble&) = delete;
    Scribble& operator=(const Scribble&) = delete;
    ~Scribble() { *at_ = before_; }

  private:
    volatile std::uint64_t* at_;
    std::uint64_t before_;
};

class HostileContainers : public Calls {
  protected:
    /// What a RelativePtr at `at` holds that points to `to`.
    static std::uint64_t distance(const void* at, const void* to) {
        return reinterpret_cast<std::uintptr_t>(to) - reinterpret_cast<std::uintptr_t>(at) - 1;
    }
    template <class T>
    static std::span<std::uint64_t> words_of(T& object) {
        return {reinterpret_cast<std::uint64_t*>(&object), sizeof(T) / 8};
    }
    /// The word of an object that a change of it changed: the layouts are Boost's, and none of this test's business.
    template <class T, class Change>
    static std::uint64_t* changed_word(T& object, Change&& change, std::uint64_t from, std::uint64_t to) {
        const std::vector<std::uint64_t> before(words_of(object).begin(), words_of(object).end());
        change();
        for (std::size_t i = 0; i < before.size(); ++i)
            if (before[i] == from && words_of(object)[i] == to) return &words_of(object)[i];
        ADD_FAILURE() << "no word changed from " << from << " to " << to;
        return words_of(object).data();
    }
    [[nodiscard]] vmrpc::Owned<Groups> groups(int count) const {
        auto made = client_.heap().make<Groups>().value();
        for (int i = 0; i < count; ++i)
            (*made)[("long enough to be in the heap " + std::to_string(i)).c_str()].assign(3, i);
        return made;
    }
    [[nodiscard]] vmrpc::Owned<Counts> counts(int count) const {
        auto made = client_.heap().make<Counts>().value();
        for (int i = 0; i < count; ++i) (*made)[std::to_string(i).c_str()] = i;
        return made;
    }
    template <class T>
    static std::string text_of(const vmrpc::Result<T>& result) {
        return result ? "no error" : result.error().text;
    }
    vmrpc::Client client_ = connect();
    const vmrpc::UseHeap use_{client_.heap()};
};

TEST_F(HostileContainers, AVectorThatClaimsMoreThanItsRoom) {
    const auto numbers = client_.heap().make<Numbers>(100U, 1).value();
    auto* const size = changed_word(
        *numbers, [&] { numbers->pop_back(); }, 100, 99);
    const Scribble scribble(size, 101);
    EXPECT_THAT(text_of(client_.call<view_numbers>(numbers.ptr())), HasSubstr("101 elements in room for 100"));
}

TEST_F(HostileContainers, AVectorWhoseBytesOverflow) {
    const auto numbers = client_.heap().make<Numbers>(100U, 1).value();
    auto* const size = changed_word(
        *numbers, [&] { numbers->pop_back(); }, 100, 99);
    for (std::uint64_t& capacity : words_of(*numbers)) {
        if (capacity != 100) continue;
        const Scribble larger_room(&capacity, ~std::uint64_t{0});
        for (const std::uint64_t count : {std::uint64_t{1} << 61, (std::uint64_t{1} << 61) + 1, ~std::uint64_t{0}}) {
            const Scribble scribble(size, count);
            EXPECT_THAT(text_of(client_.call<view_numbers>(numbers.ptr())), HasSubstr("VMRPC_OUTSIDE_HEAP")) << count;
        }
    }
}

TEST_F(HostileContainers, AVectorElsewhere) {
    const auto numbers = client_.heap().make<Numbers>(100U, 1).value();
    const auto words = words_of(*numbers);
    for (std::uint64_t& word : words) {
        if (word != distance(&word, numbers->data())) continue;
        int local = 0;
        const void* const places[] = {&local, numbers.get() + (std::uint64_t{1} << 40), nullptr,
                                      reinterpret_cast<const std::byte*>(numbers->data()) + 1};
        for (const void* place : places) {
            const Scribble scribble(&word, distance(&word, place));
            EXPECT_THAT(text_of(client_.call<view_numbers>(numbers.ptr())), HasSubstr("VMRPC_OUTSIDE_HEAP")) << place;
        }
        return;
    }
    FAIL() << "the vector holds no pointer";
}

TEST_F(HostileContainers, ATreeThatGoesInACircle) {
    const auto built = groups(10);
    // The first node's link down leads up: whatever comes after it comes for ever.
    auto* const node = &*built->begin().get().pointed_node();
    auto* const top = &*built->end().get().pointed_node();
    node->right_ = &*top->parent_;
    EXPECT_THAT(text_of(client_.call<copy_groups>(built.ptr())), HasSubstr("steps"));
    EXPECT_THAT(text_of(client_.call<visit_groups>(built.ptr())), HasSubstr("VMRPC_BAD_ARGUMENT"));
    node->right_ = nullptr;
    EXPECT_TRUE(client_.call<copy_groups>(built.ptr()));
}

TEST_F(HostileContainers, ATreeThatLeadsOutside) {
    const auto built = groups(10);
    auto* const root = &*(*built->end().get().pointed_node()).parent_;
    const auto right = root->right_;
    for (const std::uintptr_t wild :
         {std::uintptr_t{8}, std::uintptr_t{1} << 46, reinterpret_cast<std::uintptr_t>(&*right) + 4}) {
        root->right_ = reinterpret_cast<decltype(&*right)>(wild);
        EXPECT_THAT(text_of(client_.call<copy_groups>(built.ptr())), HasSubstr("VMRPC_OUTSIDE_HEAP")) << wild;
    }
    root->right_ = right;
    EXPECT_TRUE(client_.call<copy_groups>(built.ptr()));
}

TEST_F(HostileContainers, ATextThatIsThereAMillionTimes) {
    const auto words = client_.heap().make<Words>(2'000U).value();
    (*words)[0].assign(100'000, 'x');
    for (std::size_t i = 1; i < words->size(); ++i) {  // all share one block
        const auto from = words_of((*words)[0]);
        const auto to = words_of((*words)[i]);
        for (std::size_t word = 0; word < from.size(); ++word)
            to[word] = from[word] == distance(&from[word], (*words)[0].data()) ? distance(&to[word], (*words)[0].data())
                                                                               : from[word];
    }
    EXPECT_THAT(text_of(client_.call<copy_words>(words.ptr())), HasSubstr("WalkBudget::bytes"));
    for (std::size_t i = 1; i < words->size(); ++i) new (&(*words)[i]) vmrpc::String;
}

TEST_F(HostileContainers, ABudgetIsAnError) {
    const auto built = groups(100);
    const auto small = vmrpc::copy_out(built.get(), {.steps = 50});
    ASSERT_FALSE(small);
    EXPECT_EQ(small.error().status, VMRPC_BAD_ARGUMENT);
    EXPECT_THAT(small.error().text, HasSubstr("more than 50 steps"));
    EXPECT_EQ(vmrpc::copy_out(built.get(), {.bytes = 50}).error().status, VMRPC_BAD_ARGUMENT);
}

TEST_F(HostileContainers, OutsideOfEveryHeapAndNull) {
    const Numbers local;
    EXPECT_EQ(vmrpc::view(&local).error().status, VMRPC_OUTSIDE_HEAP);
    EXPECT_EQ(vmrpc::view(static_cast<const Numbers*>(nullptr)).error().status, VMRPC_BAD_ARGUMENT);
    EXPECT_EQ(vmrpc::copy_out(static_cast<const Groups*>(nullptr)).error().status, VMRPC_BAD_ARGUMENT);
    EXPECT_THAT(text_of(client_.call<view_numbers>(vmrpc::Ptr<Numbers>{})), HasSubstr("null"));
}

/// Any word of any part, with what is likely to mislead. The server must answer each time, and must not be harmed.
TEST_F(HostileContainers, WithAnyWordChanged) {
    const auto numbers = client_.heap().make<Numbers>(100U, 1).value();
    const auto tree = groups(30);
    const auto table = counts(30);
    std::vector<std::uint64_t*> words;
    const auto add = [&](auto* object, std::size_t before, std::size_t bytes) {
        auto* const first = reinterpret_cast<std::uint64_t*>(object) - before / 8;
        for (std::size_t i = 0; i < (before + bytes) / 8; ++i) words.push_back(first + i);
    };
    add(numbers.get(), 0, sizeof(Numbers));
    add(tree.get(), 0, sizeof(Groups));
    add(table.get(), 0, sizeof(Counts));
    for (auto& element : *tree) add(&element, 32, sizeof element);  // with the node's links before it
    for (auto& element : *table) add(&element, 8, sizeof element);
    std::mt19937_64 random(1);
    int refused = 0;
    for (int round = 0; round < 300; ++round) {
        std::uint64_t* const word = words[random() % words.size()];
        const std::uint64_t values[] = {0,
                                        1,
                                        7,
                                        ~std::uint64_t{0},
                                        random(),
                                        *word + 1,
                                        *word - 1,
                                        *word + 8,
                                        std::uint64_t{1} << 63,
                                        random() % 4'096,
                                        distance(word, words[random() % words.size()])};
        const Scribble scribble(word, values[random() % std::size(values)]);
        refused += client_.call<view_numbers>(numbers.ptr()) ? 0 : 1;
        refused += client_.call<copy_groups>(tree.ptr()) ? 0 : 1;
        refused += client_.call<visit_counts>(table.ptr()) ? 0 : 1;
        ASSERT_TRUE(client_.call<null>()) << round;
    }
    EXPECT_GT(refused, 30);
    EXPECT_TRUE(client_.call<copy_groups>(tree.ptr()));
}

TEST_F(HostileContainers, ThatChangeWhileTheyAreRead) {
    const auto numbers = client_.heap().make<Numbers>(100U, 1).value();
    const auto tree = groups(30);
    auto* const size = changed_word(
        *numbers, [&] { numbers->pop_back(); }, 100, 99);
    auto* const node = reinterpret_cast<std::uint64_t*>(&*(*tree->end().get().pointed_node()).parent_);
    std::atomic<bool> is_over{false};
    std::thread flipping([&] {
        for (std::uint64_t i = 0; !is_over.load(); ++i) {
            const Scribble number(size, i % 2 == 0 ? ~std::uint64_t{0} : 5);
            const Scribble link(node + i % 3, i % 5 == 0 ? i : std::uint64_t{1} << i % 64);
        }
    });
    for (int i = 0; i < 2'000; ++i) {
        const auto seen = client_.call<view_numbers>(numbers.ptr());
        EXPECT_LE(seen.map([](const Looked& looked) { return looked.sum; }).value_or(0), 100)
            << "the size that was checked is the size that was used";
        static_cast<void>(client_.call<visit_groups>(tree.ptr()));
    }
    is_over.store(true);
    flipping.join();
    EXPECT_TRUE(client_.call<null>());
    EXPECT_TRUE(client_.call<copy_groups>(tree.ptr()));
}

}  // namespace
}  // namespace conformance
