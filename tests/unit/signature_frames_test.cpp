// How arguments lie in frames, and which declarations are refused.
#include "call/function.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <string>
#include <vector>

namespace vmrpc::call {
namespace {

using testing::HasSubstr;

constexpr vmrpc_impl_argument value(std::uint32_t bytes, std::uint32_t alignment) {
    return {VMRPC_IMPL_VALUE, 0, bytes, alignment};
}
constexpr vmrpc_impl_argument inout(std::uint32_t bytes, std::uint32_t alignment) {
    return {VMRPC_IMPL_INOUT, 0, bytes, alignment};
}
constexpr vmrpc_impl_argument kSpan{VMRPC_IMPL_SPAN, 0, 4, 4};
constexpr vmrpc_impl_argument kPointer{VMRPC_IMPL_POINTER, 0, 1000, 2};
constexpr vmrpc_impl_argument kBlock{VMRPC_IMPL_BLOCK, 0, 1, 1};

base::Result<Function> made(const std::vector<vmrpc_impl_argument>& arguments, vmrpc_impl_argument result = {},
                            const char* name = "f") {
    const vmrpc_impl_function declaration{sizeof declaration, name,   0, static_cast<std::uint32_t>(arguments.size()),
                                          arguments.data(),   result, 0};
    return Function::from(declaration);
}

std::vector<std::uint32_t> request_offsets(const Function& function) {
    std::vector<std::uint32_t> offsets;
    for (const Argument& argument : function.arguments()) offsets.push_back(argument.request_offset);
    return offsets;
}

void expect_refused(const base::Result<Function>& function, vmrpc_status status, const std::string& text) {
    ASSERT_FALSE(function);
    EXPECT_EQ(function.error().status, status);
    EXPECT_THAT(function.error().text, HasSubstr(text));
}

TEST(Frame, HasEachArgumentAtItsAlignment) {
    const auto function = made({value(1, 1), value(8, 8), value(2, 2), kSpan, kPointer, value(3, 1)}).value();
    EXPECT_EQ(request_offsets(function), (std::vector<std::uint32_t>{0, 8, 16, 24, 40, 48}));
    EXPECT_EQ(function.request_bytes(), 51U) << "no padding at the end";
    EXPECT_EQ(function.result_bytes(), 0U);
}

TEST(Frame, HasTheResultFirstAndThenWhatTravelsBack) {
    const auto function = made({inout(1, 1), value(8, 8), inout(4, 4)}, value(2, 2)).value();
    EXPECT_EQ(function.result().result_offset, 0U);
    EXPECT_EQ(function.arguments()[0].result_offset, 2U);
    EXPECT_EQ(function.arguments()[2].result_offset, 4U);
    EXPECT_EQ(function.result_bytes(), 8U);
    EXPECT_EQ(request_offsets(function), (std::vector<std::uint32_t>{0, 8, 16}));
}

TEST(Frame, OfABlockHasAWireSpan) {
    const auto function = made({}, kBlock).value();
    EXPECT_EQ(function.request_bytes(), 0U);
    EXPECT_EQ(function.result_bytes(), sizeof(WireSpan));
}

TEST(Frame, KeepsTheLargestAlignment) {
    const auto function = made({value(1, 1), value(64, 64)}).value();
    EXPECT_EQ(request_offsets(function), (std::vector<std::uint32_t>{0, 64}));
    EXPECT_EQ(function.request_bytes(), 128U);
}

TEST(Frame, LiesInItsLineAsLongAsItFits) {
    EXPECT_EQ(stacked_request_bytes(24), 0U);
    EXPECT_EQ(stacked_request_bytes(25), 64U);
    EXPECT_EQ(stacked_request_bytes(65), 128U);
    EXPECT_EQ(stacked_result_bytes(48), 0U);
    EXPECT_EQ(stacked_result_bytes(49), 64U);
}

TEST(Declaration, MayFillTheWholeFrame) {
    EXPECT_TRUE(made({value(kMaxFrameBytes - 8, 1)}, value(8, 8)));
    EXPECT_TRUE(made({value(kMaxFrameBytes, 1)}));
}

TEST(Declaration, IsRefusedWithAFrameTooLarge) {
    expect_refused(made({value(kMaxFrameBytes + 1, 1)}), VMRPC_FRAME_TOO_LARGE, "65537");
    expect_refused(made({value(kMaxFrameBytes, 1)}, value(1, 1)), VMRPC_FRAME_TOO_LARGE, "65537");
    expect_refused(made({inout(kMaxFrameBytes / 2 + 1, 1)}), VMRPC_FRAME_TOO_LARGE, "65538");
}

TEST(Declaration, IsRefusedWithAFrameWhoseSizeOverflows) {
    expect_refused(made({value(0xffffffff, 1)}), VMRPC_FRAME_TOO_LARGE, "4294967295");
    const std::vector<vmrpc_impl_argument> most(VMRPC_IMPL_MAX_ARGUMENTS, inout(kMaxFrameBytes, 64));
    expect_refused(made(most, value(kMaxFrameBytes, 64)), VMRPC_FRAME_TOO_LARGE, "");
}

TEST(Declaration, TakesSpansAndPointersToWhateverSize) {
    EXPECT_TRUE(made({{VMRPC_IMPL_SPAN, 0, 1U << 30, 8}, {VMRPC_IMPL_POINTER, 0, 0xffffffff, 64}}));
}

TEST(Declaration, IsRefusedWithTooManyArguments) {
    EXPECT_TRUE(made(std::vector<vmrpc_impl_argument>(VMRPC_IMPL_MAX_ARGUMENTS, value(1, 1))));
    expect_refused(made(std::vector<vmrpc_impl_argument>(VMRPC_IMPL_MAX_ARGUMENTS + 1, value(1, 1))),
                   VMRPC_BAD_ARGUMENT, "13 arguments");
}

TEST(Declaration, IsRefusedWithoutAName) {
    expect_refused(made({}, {}, nullptr), VMRPC_BAD_ARGUMENT, "name");
    expect_refused(made({}, {}, ""), VMRPC_BAD_ARGUMENT, "name");
}

TEST(Declaration, IsRefusedWithANameThatConfuses) {
    for (const char* name : {"a b", "f(int)", ")", "tab\there", "line\n"})
        expect_refused(made({}, {}, name), VMRPC_BAD_ARGUMENT, "name");
}

TEST(Declaration, IsRefusedWithANameTooLong) {
    EXPECT_TRUE(made({}, {}, std::string(kMaxNameBytes, 'n').c_str()));
    expect_refused(made({}, {}, std::string(kMaxNameBytes + 1, 'n').c_str()), VMRPC_BAD_ARGUMENT, "256");
}

TEST(Declaration, FitsWithItsLongestSignatureIntoAResolve) {
    const std::vector<vmrpc_impl_argument> longest(VMRPC_IMPL_MAX_ARGUMENTS,
                                                   {VMRPC_IMPL_SPAN_INOUT, 0, 0xffffffff, 64});
    const std::string name(kMaxNameBytes, 'n');
    vmrpc_impl_function declaration{sizeof declaration, name.c_str(), 0xffffffff, VMRPC_IMPL_MAX_ARGUMENTS,
                                    longest.data(),     kBlock,       0};
    declaration.result.bytes = 0xffffffff;
    declaration.result.alignment = 64;
    EXPECT_LE(Function::from(declaration).value().signature().size(), kMaxSignatureBytes);
}

TEST(Declaration, IsRefusedWithCategoriesThatCannotBe) {
    expect_refused(made({kBlock}), VMRPC_BAD_ARGUMENT, "argument of category 6");
    expect_refused(made({{VMRPC_IMPL_NONE, 0, 1, 1}}), VMRPC_BAD_ARGUMENT, "argument of category 0");
    expect_refused(made({{7, 0, 1, 1}}), VMRPC_BAD_ARGUMENT, "category 7");
    expect_refused(made({{16'129, 0, 1, 1}}), VMRPC_BAD_ARGUMENT, "category 16129");
    for (const unsigned category : {VMRPC_IMPL_INOUT, VMRPC_IMPL_SPAN, VMRPC_IMPL_SPAN_INOUT, VMRPC_IMPL_POINTER})
        expect_refused(made({}, {static_cast<std::uint16_t>(category), 0, 1, 1}), VMRPC_BAD_ARGUMENT, "result");
}

TEST(Declaration, IsRefusedWithAlignmentsThatCannotBe) {
    expect_refused(made({value(8, 0)}), VMRPC_BAD_ARGUMENT, "alignment 0");
    expect_refused(made({value(8, 3)}), VMRPC_BAD_ARGUMENT, "alignment 3");
    expect_refused(made({value(128, 128)}), VMRPC_BAD_ARGUMENT, "alignment 128");
    expect_refused(made({value(0, 1)}), VMRPC_BAD_ARGUMENT, "0 bytes");
}

TEST(Declaration, IsRefusedWithAnotherVersionsSize) {
    const vmrpc_impl_function declaration{sizeof declaration - 8, "f", 0, 0, nullptr, {}, 0};
    expect_refused(Function::from(declaration), VMRPC_BAD_ARGUMENT, std::to_string(sizeof declaration));
}

}  // namespace
}  // namespace vmrpc::call
