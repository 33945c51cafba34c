// What a function sees of spans: a private snapshot, a private copy, or the client's own bytes. Both sides are threads
// of one process with one mapping, so that addresses can be compared.
#include "cpp_api_server.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

namespace cpp_api {
namespace {

constexpr std::size_t kSnapshot = 16 * 1024;

template <class T>
std::uint64_t address_of(const vmrpc::Array<T>& array) {
    return reinterpret_cast<std::uintptr_t>(array.data());
}

/// A server and a client that trust, or not.
struct Pairing {
    explicit Pairing(bool server_trusts = false, bool client_trusts = false)
        : server({.trust_peer = server_trusts}), client(server.connect({.trust_peer = client_trusts})) {}
    template <class T>
    [[nodiscard]] vmrpc::Array<T> filled(std::size_t count, const T& value) const {
        auto array = client.heap().make_array<T>(count).value();
        std::fill(array.begin(), array.end(), value);
        return array;
    }
    Server server;
    vmrpc::Client client;
};

TEST(CppApiSnapshot, IsTakenOfASmallSpan) {
    const Pairing pairing;
    const auto bytes = pairing.filled<std::uint8_t>(kSnapshot, 1);
    const Seen seen = pairing.client.call<look>(bytes).value();
    EXPECT_EQ(seen.sum, kSnapshot);
    EXPECT_FALSE(seen.in_segment) << "the client could change it while the function reads";
}

TEST(CppApiSnapshot, IsNotTakenOfALargeSpanOfNumbers) {
    const Pairing pairing;
    const auto bytes = pairing.filled<std::uint8_t>(kSnapshot + 1, 1);
    const Seen seen = pairing.client.call<look>(bytes).value();
    EXPECT_EQ(seen.sum, kSnapshot + 1);
    EXPECT_TRUE(seen.in_segment);
    EXPECT_EQ(seen.address, address_of(bytes));
}

TEST(CppApiSnapshot, IsTakenOfText) {
    const Pairing pairing;
    EXPECT_FALSE(pairing.client.call<look_at_text>(std::string(100, 'x')).value().in_segment);
}

TEST(CppApiSnapshot, IsWrittenBackIfTheFunctionMayWrite) {
    const Pairing pairing;
    const auto bytes = pairing.filled<std::uint8_t>(100, 1);
    const Seen seen = pairing.client.call<look_writable>(bytes).value();
    EXPECT_FALSE(seen.in_segment);
    EXPECT_EQ(seen.sum, 100U);
    EXPECT_EQ(bytes[0], 7);
    EXPECT_EQ(bytes[99], 7);
}

TEST(CppApiCopy, IsTakenOfALargeSpanOfStructs) {
    const Pairing pairing;
    const auto pairs = pairing.filled<Pair>(kSnapshot, {2, 0});
    const Seen seen = pairing.client.call<look_at_pairs>(pairs).value();
    EXPECT_EQ(seen.sum, 2 * kSnapshot);
    EXPECT_FALSE(seen.in_segment);
}

TEST(CppApiCopy, IsWrittenBackIfTheFunctionMayWrite) {
    const Pairing pairing;
    const auto pairs = pairing.filled<Pair>(kSnapshot, {2, 0.5});
    ASSERT_TRUE(pairing.client.call<scale_pairs>(pairs, 3));
    EXPECT_EQ(pairs[0], (Pair{6, 0.5}));
    EXPECT_EQ(pairs[kSnapshot - 1], (Pair{6, 0.5}));
}

TEST(CppApiInPlace, IsNeverCopied) {
    const Pairing pairing;
    for (const std::size_t count : {std::size_t{1}, kSnapshot}) {
        const auto pairs = pairing.filled<Pair>(count, {1, 0});
        const Seen seen = pairing.client.call<look_in_place>(pairs.span()).value();
        EXPECT_EQ(seen.address, address_of(pairs)) << count;
        EXPECT_EQ(seen.sum, count);
    }
    EXPECT_TRUE(pairing.client.call<look_at_text_in_place>(std::string_view("text")).value().in_segment);
}

TEST(CppApiTrust, LeavesAllInPlace) {
    const Pairing pairing(true, true);
    EXPECT_TRUE(pairing.client.call<facts>().value().trusted);
    const auto bytes = pairing.filled<std::uint8_t>(10, 1);
    EXPECT_EQ(pairing.client.call<look>(bytes).value().address, address_of(bytes));
    EXPECT_EQ(pairing.client.call<look_writable>(bytes).value().address, address_of(bytes));
    EXPECT_EQ(bytes[9], 7);
    const auto pairs = pairing.filled<Pair>(kSnapshot, {1, 0});
    EXPECT_EQ(pairing.client.call<look_at_pairs>(pairs).value().address, address_of(pairs));
}

TEST(CppApiTrust, NeedsBothSides) {
    for (const bool server_trusts : {false, true}) {
        const Pairing pairing(server_trusts, !server_trusts);
        EXPECT_FALSE(pairing.client.call<facts>().value().trusted);
        const auto bytes = pairing.filled<std::uint8_t>(10, 1);
        EXPECT_FALSE(pairing.client.call<look>(bytes).value().in_segment);
    }
}

}  // namespace
}  // namespace cpp_api
