// The file that is a VM's memory, and the block in it that the guest's kernel reads.
#include "transport/vm/info_block.hpp"
#include "transport/vm/memory_file.hpp"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>

namespace vmrpc::transport::vm {
namespace {

constexpr std::uint64_t kBytes = 32 << 20;

class MemoryFileTest : public testing::Test {
  protected:
    MemoryFileTest() : folder_("/tmp/vmrpc-test-XXXXXX") { EXPECT_NE(::mkdtemp(folder_.data()), nullptr); }
    ~MemoryFileTest() override { std::filesystem::remove_all(folder_); }
    std::string path(const std::string& name = "a.mem") const { return folder_ + "/" + name; }
    void overwrite(off_t offset, const std::string& bytes) const {
        const base::Fd file(::open(path().c_str(), O_RDWR));
        ASSERT_EQ(::pwrite(file.get(), bytes.data(), bytes.size(), offset), static_cast<ssize_t>(bytes.size()));
    }
    void expect_refused(vmrpc_status status, const std::string& text) const {
        const auto opened = open_memory_file(path());
        ASSERT_FALSE(opened);
        EXPECT_EQ(opened.error().status, status) << opened.error().text;
        EXPECT_NE(opened.error().text.find(text), std::string::npos) << opened.error().text;
    }
    std::string folder_;
};

TEST_F(MemoryFileTest, IsMadeAndOpened) {
    ASSERT_TRUE(make_memory_file(path(), kBytes - 1, 0640));
    struct stat status {};
    ASSERT_EQ(::stat(path().c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777, 0640U);
    EXPECT_EQ(static_cast<std::uint64_t>(status.st_size), kDaxDataOffset + kBytes);
    EXPECT_LE(status.st_blocks * 512, 64 << 10) << "sparse";
    const auto memory = open_memory_file(path());
    ASSERT_TRUE(memory) << memory.error().text;
    EXPECT_EQ(memory->segment_bytes, kBytes);
    EXPECT_EQ(memory->segment().offset, kDaxDataOffset);
    EXPECT_NE(memory->uuid, layout::Uuid{});
    // Nothing but the file: its making left no other name.
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_), {}), 1);
}

TEST_F(MemoryFileTest, IsNotMadeOverAnother) {
    ASSERT_TRUE(make_memory_file(path(), kBytes));
    EXPECT_EQ(make_memory_file(path(), kBytes).error().status, VMRPC_ADDRESS_IN_USE);
    EXPECT_EQ(make_memory_file(path("b.mem"), 4096).error().status, VMRPC_BAD_ARGUMENT);
    EXPECT_FALSE(make_memory_file(folder_ + "/none/a.mem", kBytes));
}

// The sum of a block that a stock kernel has accepted (the guest's tests boot one with it).
TEST_F(MemoryFileTest, TheBlockIsWhatTheKernelReads) {
    const InfoBlock block = make_info_block({layout::Uuid{1, 2, 3}, kBytes});
    EXPECT_EQ(std::string(reinterpret_cast<const char*>(block.data())), "NVDIMM_DAX_INFO");
    const auto read = read_info_block(block, kDaxDataOffset + kBytes);
    ASSERT_TRUE(read) << read.error().text;
    EXPECT_EQ(read->uuid, (layout::Uuid{1, 2, 3}));
    EXPECT_EQ(read->data_bytes, kBytes);
    EXPECT_FALSE(read_info_block(block, kDaxDataOffset + kBytes - 1));
}

TEST_F(MemoryFileTest, EachByteOfTheBlockIsUnderItsSum) {
    const InfoBlock block = make_info_block({layout::make_uuid(), kBytes});
    for (std::size_t i = 0; i < block.size(); i += 7) {
        InfoBlock other = block;
        other[i] ^= std::byte{0x40};
        EXPECT_FALSE(read_info_block(other, kDaxDataOffset + kBytes)) << i;
    }
}

TEST_F(MemoryFileTest, WhatIsNoneIsRefused) {
    expect_refused(VMRPC_NO_SERVER, "qemu-args");
    ASSERT_EQ(::mkdir(path().c_str(), 0700), 0);
    EXPECT_FALSE(open_memory_file(path()));
    ASSERT_EQ(::rmdir(path().c_str()), 0);
    ASSERT_EQ(::mkfifo(path().c_str(), 0600), 0);
    expect_refused(VMRPC_NOT_VMRPC, "no regular file");
    ASSERT_EQ(::unlink(path().c_str()), 0);
    ASSERT_TRUE(make_memory_file(path(), kBytes));
    overwrite(kInfoBlockOffset, "another program's");
    expect_refused(VMRPC_NOT_VMRPC, "no signature");
}

TEST_F(MemoryFileTest, OneThatIsCutOffIsRefused) {
    ASSERT_TRUE(make_memory_file(path(), kBytes));
    ASSERT_EQ(::truncate(path().c_str(), kDaxDataOffset + kBytes / 2), 0);
    expect_refused(VMRPC_NOT_VMRPC, "have no room");
    ASSERT_EQ(::truncate(path().c_str(), 5000), 0);
    expect_refused(VMRPC_NOT_VMRPC, "cut off");
}

}  // namespace
}  // namespace vmrpc::transport::vm
