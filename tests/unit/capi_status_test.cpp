// Names, texts and remedies of every status; the last error of a thread.
#include <vmrpc/vmrpc.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <iterator>
#include <set>
#include <string>
#include <thread>

namespace vmrpc::test {
namespace {

struct Known {
    vmrpc_status status;
    const char* name;
    vmrpc_remedy remedy;
};

#define VMRPC_KNOWN(status, remedy) \
    { status, #status, VMRPC_REMEDY_##remedy }
constexpr Known kAll[] = {
    VMRPC_KNOWN(VMRPC_OK, NONE),
    VMRPC_KNOWN(VMRPC_TIMED_OUT, RETRY_LATER),
    VMRPC_KNOWN(VMRPC_HEAP_FULL, RETRY_LATER),
    VMRPC_KNOWN(VMRPC_BUSY, RETRY_LATER),
    VMRPC_KNOWN(VMRPC_OUT_OF_RESOURCES, RETRY_LATER),
    VMRPC_KNOWN(VMRPC_SHUTTING_DOWN, RETRY_LATER),
    VMRPC_KNOWN(VMRPC_CANCELLED, RETRY_LATER),
    VMRPC_KNOWN(VMRPC_PEER_LOST, RECONNECT),
    VMRPC_KNOWN(VMRPC_POISONED, RECONNECT),
    VMRPC_KNOWN(VMRPC_CLOSED, RECONNECT),
    VMRPC_KNOWN(VMRPC_NO_SERVER, RECONNECT),
    VMRPC_KNOWN(VMRPC_BAD_ARGUMENT, FIX_THE_CALL),
    VMRPC_KNOWN(VMRPC_BAD_ADDRESS, FIX_THE_CALL),
    VMRPC_KNOWN(VMRPC_UNKNOWN_FUNCTION, FIX_THE_CALL),
    VMRPC_KNOWN(VMRPC_SIGNATURE_MISMATCH, FIX_THE_CALL),
    VMRPC_KNOWN(VMRPC_FRAME_TOO_LARGE, FIX_THE_CALL),
    VMRPC_KNOWN(VMRPC_OUTSIDE_HEAP, FIX_THE_CALL),
    VMRPC_KNOWN(VMRPC_BAD_FREE, FIX_THE_CALL),
    VMRPC_KNOWN(VMRPC_FUNCTION_FAILED, FIX_THE_CALL),
    VMRPC_KNOWN(VMRPC_NOT_PERMITTED, FIX_THE_CALL),
    VMRPC_KNOWN(VMRPC_ADDRESS_IN_USE, FIX_THE_CALL),
    VMRPC_KNOWN(VMRPC_NOT_VMRPC, FIX_THE_CALL),
    VMRPC_KNOWN(VMRPC_STACK_OVERFLOW, FIX_THE_CALL),
    VMRPC_KNOWN(VMRPC_NESTED_TOO_DEEP, FIX_THE_CALL),
    VMRPC_KNOWN(VMRPC_LAYOUT_VERSION, NOT_SUPPORTED),
    VMRPC_KNOWN(VMRPC_NOT_SUPPORTED, NOT_SUPPORTED),
};

TEST(CapiStatus, HasANameATextAndARemedy) {
    std::set<std::string> texts;
    for (const Known& known : kAll) {
        EXPECT_STREQ(VMRPC_STATUS_NAME(known.status), known.name);
        EXPECT_STRNE(VMRPC_STATUS_TEXT(known.status), "unknown status") << known.name;
        EXPECT_TRUE(texts.insert(VMRPC_STATUS_TEXT(known.status)).second) << known.name << " has another one's text";
        EXPECT_EQ(VMRPC_REMEDY(known.status), known.remedy) << known.name;
    }
}

// A status that the list above does not have would have a name.
TEST(CapiStatus, IsKnownToThisTest) {
    std::size_t named = 0;
    for (int status = 0; status < 512; ++status)  // what the type can hold
        named += std::strcmp(VMRPC_STATUS_NAME(static_cast<vmrpc_status>(status)), "VMRPC_UNKNOWN_STATUS") != 0;
    EXPECT_EQ(named, std::size(kAll));
}

TEST(CapiStatus, ThatIsNoneIsSaidToBeUnknown) {
    EXPECT_STREQ(VMRPC_STATUS_NAME(static_cast<vmrpc_status>(499)), "VMRPC_UNKNOWN_STATUS");
    EXPECT_STREQ(VMRPC_STATUS_TEXT(static_cast<vmrpc_status>(499)), "unknown status");
}

TEST(CapiLastError, IsEachThreadsOwn) {
    vmrpc_connection* connection = nullptr;
    ASSERT_EQ(vmrpc_connect(nullptr, nullptr, &connection), VMRPC_BAD_ADDRESS);
    std::thread([] {
        EXPECT_EQ(VMRPC_LAST_STATUS(), VMRPC_OK);
        EXPECT_STREQ(VMRPC_LAST_ERROR_TEXT(), "");
        EXPECT_EQ(vmrpc_malloc(nullptr, 1, nullptr), nullptr);
        EXPECT_EQ(VMRPC_LAST_STATUS(), VMRPC_BAD_ARGUMENT);
    }).join();
    EXPECT_EQ(VMRPC_LAST_STATUS(), VMRPC_BAD_ADDRESS);
}

}  // namespace
}  // namespace vmrpc::test
