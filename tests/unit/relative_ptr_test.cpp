// A pointer that is stored as its distance to its target.
#include <vmrpc/relative_ptr.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <memory>
#include <vector>

namespace vmrpc {
namespace {

struct Base {
    int number = 0;
};
struct Derived : Base {
    int more = 0;
};

TEST(RelativePtr, IsNullAtFirstAndInClearedMemory) {
    const RelativePtr<int> null;
    EXPECT_FALSE(null);
    EXPECT_EQ(null, nullptr);
    EXPECT_EQ(null.get(), nullptr);
    alignas(RelativePtr<int>) std::array<std::byte, sizeof null> cleared{};
    EXPECT_EQ(*reinterpret_cast<RelativePtr<int>*>(cleared.data()), nullptr);
}

TEST(RelativePtr, KeepsItsTargetWhereverItIsCopied) {
    int target = 7;
    const RelativePtr<int> first(&target);
    const auto second = std::make_unique<RelativePtr<int>>(first);
    EXPECT_EQ(second->get(), &target);
    EXPECT_EQ(*first, 7);
    EXPECT_EQ(first, *second);
    std::vector<RelativePtr<int>> many(100, first);
    many.insert(many.begin(), nullptr);
    EXPECT_EQ(std::count(many.begin(), many.end(), RelativePtr<int>(&target)), 100);
}

TEST(RelativePtr, MayPointToItself) {
    struct Ring {
        RelativePtr<Ring> next;
    };
    Ring ring;
    ring.next = &ring;
    EXPECT_EQ(ring.next.get(), &ring);
    EXPECT_TRUE(ring.next);
}

/// What makes it good for shared memory: bytes that lie elsewhere mean the same there.
TEST(RelativePtr, MovesWithTheMemoryThatItLiesIn) {
    struct Block {
        RelativePtr<int> to;
        int target = 0;
    };
    Block here;
    here.to = &here.target;
    alignas(Block) std::array<std::byte, sizeof(Block)> there;
    std::memcpy(there.data(), &here, sizeof here);
    const auto& mapped = *reinterpret_cast<const Block*>(there.data());
    EXPECT_EQ(mapped.to.get(), &mapped.target);
}

TEST(RelativePtr, CountsInElements) {
    std::array<int, 10> numbers{0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
    RelativePtr<int> at(numbers.data());
    EXPECT_EQ(*(at + 3), 3);
    EXPECT_EQ(*(3 + at), 3);
    EXPECT_EQ(at[9], 9);
    EXPECT_EQ(*++at, 1);
    EXPECT_EQ(*at++, 1);
    EXPECT_EQ(*at--, 2);
    EXPECT_EQ(*--at, 0);
    at += 5;
    EXPECT_EQ(*(at - 2), 3);
    at -= 5;
    const RelativePtr<int> end = at + 10;
    EXPECT_EQ(end - at, 10);
    EXPECT_EQ(at - end, -10);
    EXPECT_LT(at, end);
    EXPECT_GE(end, at);
    EXPECT_EQ(std::to_address(at), numbers.data());
}

TEST(RelativePtr, ConvertsWherePlainPointersDo) {
    Derived object;
    const RelativePtr<Derived> derived(&object);
    const RelativePtr<Base> base = derived;
    const RelativePtr<const Base> constant = base;
    const RelativePtr<void> nothing = derived;
    EXPECT_EQ(constant.get(), &object);
    EXPECT_EQ(static_cast<RelativePtr<Derived>>(nothing).get(), &object);
    EXPECT_EQ(RelativePtr<Derived>::static_cast_from(base).get(), &object);
    EXPECT_EQ(RelativePtr<Derived>::pointer_to(object).get(), &object);
    static_assert(!std::is_convertible_v<RelativePtr<const int>, RelativePtr<int>>);
    static_assert(!std::is_convertible_v<RelativePtr<void>, RelativePtr<int>>);
    static_assert(std::is_same_v<std::pointer_traits<RelativePtr<int>>::rebind<char>, RelativePtr<char>>);
}

}  // namespace
}  // namespace vmrpc
