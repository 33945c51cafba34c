// What identifies a function: its canonical string, from C and from C++, and its number in a process.
#include "call/function.hpp"
#include "signature_functions.hpp"

#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

namespace vmrpc::call {
namespace {

std::string signature_of(const vmrpc_impl_function& declaration) {
    const auto function = Function::from(declaration);
    return function ? function->signature() : function.error().text;
}

/// C's and C++'s string of a function; they are the same, or the test fails.
template <auto kFunction>
VMRPC_IMPL_NODEBUG std::string common_signature() {
    const vmrpc_impl_function& in_cpp = signature::declared<kFunction>();
    const vmrpc_impl_function* in_c = signature_declared_in_c(in_cpp.name);
    if (in_c == nullptr) return std::string("not in C: ") + in_cpp.name;
    EXPECT_EQ(signature_of(in_cpp), signature_of(*in_c));
    return signature_of(in_cpp);
}

TEST(Signature, OfASpan) {
    EXPECT_EQ(common_signature<signature_mean>(), "signature_mean(span 8/8) -> value 8/8");
}
TEST(Signature, OfAMutableSpanWithoutResult) {
    EXPECT_EQ(common_signature<signature_scale>(), "signature_scale(span-inout 4/4, value 8/8) -> nothing");
}
TEST(Signature, OfStructsAndText) {
    EXPECT_EQ(common_signature<signature_count>(), "signature_count(value 16/8, span 1/1) -> value 16/8");
}
TEST(Signature, OfReferences) {
    EXPECT_EQ(common_signature<signature_swap>(), "signature_swap(inout 4/4, inout 16/8) -> nothing");
}
TEST(Signature, OfAPointer) {
    EXPECT_EQ(common_signature<signature_tag>(), "signature_tag(pointer 16/8) -> value 1/1");
}
TEST(Signature, OfABlock) {
    EXPECT_EQ(common_signature<signature_make>(), "signature_make(value 8/8) -> block 2/2");
}
TEST(Signature, OfNothing) {
    EXPECT_EQ(common_signature<signature_nothing>(), "signature_nothing() -> nothing");
}
TEST(Signature, DoesNotShowInPlace) {
    EXPECT_EQ(common_signature<signature_in_place>(), "signature_in_place(span 16/8, span-inout 1/1) -> value 4/4");
}
TEST(Signature, OfEightArguments) {
    EXPECT_EQ(common_signature<signature_eight>(),
              "signature_eight(value 1/1, value 2/2, value 4/4, value 8/8, value 4/4, value 8/8, value 1/1, "
              "value 8/8) -> value 4/4");
}
TEST(Signature, HasTheQualifiedName) {
    EXPECT_EQ(signature_of(signature::declared<signature::nested::inner>()),
              "signature::nested::inner(value 4/4) -> nothing");
}
TEST(Signature, HasTheUsersNameAndSchema) {
    EXPECT_EQ(signature_of(signature::declared<signature::kRenamed>()), "stats.mean(span 8/8) -> value 8/8");
    EXPECT_EQ(signature_of(signature::declared<signature::kThird>()), "stats.mean(span 8/8) -> value 8/8 schema 3");
}

TEST(Signature, GivesItsName) {
    const auto function = Function::from(signature::declared<signature::nested::inner>()).value();
    EXPECT_EQ(function.name(), "signature::nested::inner");
    EXPECT_EQ(name_of(function.signature()), "signature::nested::inner");
    EXPECT_EQ(name_of("without a list"), "without a list");
}

// The published test vectors of 64-bit FNV-1a.
TEST(Fingerprint, IsFnv1a) {
    EXPECT_EQ(fingerprint(""), 0xcbf29ce484222325U);
    EXPECT_EQ(fingerprint("a"), 0xaf63dc4c8601ec8cU);
    EXPECT_EQ(fingerprint("foobar"), 0x85944171f73967e8U);
}

TEST(Fingerprint, TellsSignaturesApart) {
    EXPECT_NE(fingerprint("mean(span 8/8) -> value 8/8"), fingerprint("mean(span 8/8) -> value 4/4"));
}

TEST(Registry, GivesEqualDeclarationsOneNumber) {
    const auto here = registered(signature::declared<signature_mean>()).value();
    EXPECT_EQ(here.id, signature::id_of_mean_elsewhere());
    EXPECT_EQ(here.id, registered(*signature_declared_in_c("signature_mean")).value().id);
    EXPECT_EQ(signature_declared_in_c("signature_mean")->id, here.id) << "remembered in the declaration";
}

TEST(Registry, GivesDifferentDeclarationsDifferentNumbers) {
    const auto renamed = registered(signature::declared<signature::kRenamed>()).value();
    const auto third = registered(signature::declared<signature::kThird>()).value();
    EXPECT_NE(renamed.id, third.id);
    EXPECT_NE(renamed.function, third.function);
    EXPECT_EQ(renamed.function->signature(), "stats.mean(span 8/8) -> value 8/8");
}

// In place or not is no part of the signature, but one process may serve both.
TEST(Registry, TellsFlagsApart) {
    vmrpc_impl_argument argument{VMRPC_IMPL_SPAN, 0, 16, 8};
    vmrpc_impl_function plain{sizeof plain, "signature.flags", 0, 1, &argument, {}, 0};
    const auto first = registered(plain).value();
    argument.flags = VMRPC_IMPL_IN_PLACE;
    vmrpc_impl_function in_place = plain;
    in_place.id = 0;
    EXPECT_NE(registered(in_place).value().id, first.id);
}

TEST(Registry, GivesManyThreadsTheSameNumber) {
    static vmrpc_impl_function declaration{sizeof declaration, "signature.threads", 0, 0, nullptr, {}, 0};
    std::vector<std::uint32_t> ids(4);
    std::vector<std::thread> threads;
    for (std::uint32_t& id : ids) threads.emplace_back([&id] { id = registered(declaration).value().id; });
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(ids, std::vector<std::uint32_t>(4, ids[0]));
    EXPECT_NE(ids[0], 0U);
}

TEST(Registry, RefusesADeclarationThatWasNotZero) {
    vmrpc_impl_function declaration{sizeof declaration, "signature.garbage", 0, 0, nullptr, {}, 0xdeadbeef};
    EXPECT_EQ(registered(declaration).error().status, VMRPC_BAD_ARGUMENT);
}

}  // namespace
}  // namespace vmrpc::call
