// What a program in a guest finds. One boot serves all tests here: each looks at one of the commands that ran.
#include "dax_info_block.hpp"
#include "guest.hpp"

#include <gtest/gtest.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <thread>

namespace vmrpc::vm {
namespace {

constexpr std::size_t kMemoryBytes = 1 << 20;

// A file without a name, and its path for QEMU.
class SharedFile {
  public:
    explicit SharedFile(std::size_t bytes) : bytes_(bytes), file_(memfd_create("vm-boot-test", MFD_CLOEXEC)) {
        EXPECT_EQ(ftruncate(file_, static_cast<off_t>(bytes)), 0);
        base_ = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file_, 0);
        EXPECT_NE(base_, MAP_FAILED);
    }
    ~SharedFile() {
        munmap(base_, bytes_);
        close(file_);
    }
    SharedFile(const SharedFile&) = delete;
    SharedFile& operator=(const SharedFile&) = delete;
    std::byte* base() const { return static_cast<std::byte*>(base_); }
    VirtioPmem device() const { return {"/proc/" + std::to_string(getpid()) + "/fd/" + std::to_string(file_), bytes_}; }

  private:
    std::size_t bytes_;
    int file_;
    void* base_ = nullptr;
};

// A listener on loopback that takes one connection and keeps what it says.
class Listener {
  public:
    Listener() : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t bytes = sizeof address;
        EXPECT_EQ(bind(fd_, reinterpret_cast<const sockaddr*>(&address), bytes), 0);
        EXPECT_EQ(listen(fd_, 1), 0);
        EXPECT_EQ(getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &bytes), 0);
        port = ntohs(address.sin_port);
        thread_ = std::thread{[this] { take(); }};
    }

    std::string finish() {
        shutdown(fd_, SHUT_RDWR);  // wakes accept() where nobody has come
        thread_.join();
        close(fd_);
        return heard_;
    }

    std::uint16_t port = 0;

  private:
    void take() {
        const int connection = accept(fd_, nullptr, nullptr);
        if (connection < 0) return;
        char text[16];
        const auto bytes = recv(connection, text, sizeof text, MSG_WAITALL);
        if (bytes > 0) heard_.assign(text, static_cast<std::size_t>(bytes));
        close(connection);
    }

    int fd_;
    std::string heard_;
    std::thread thread_;
};

class GuestBoot : public testing::Test {
  protected:
    enum Index {
        kPrint,
        kExit,
        kSignal,
        kDynamic,
        kEnvironment,
        kModule,
        kModuleDependent,
        kNetwork,
        kBulk,
        kMemory,
        kOrphan
    };

    static GuestOptions options(std::uint16_t port) {
        GuestOptions result;
        result.commands = {{{PROBE, "sleep"}, true},  // must not keep the guest from ending
                           {{PROBE, "print", "one line", "", "a 'quoted' line"}},
                           {{PROBE, "exit", "7"}},
                           {{PROBE, "signal", "11"}},
                           {{DYNAMIC_PROBE, "print", "dynamically linked"}},
                           {{"/elsewhere/probe", "env", "VM_TEST"}},
                           {{PROBE, "module", "fuse"}},
                           {{PROBE, "module", "vfio_pci"}},
                           {{PROBE, "greet", std::to_string(port)}},
                           {{PROBE, "fill", "bulk"}},
                           {{PROBE, "memory"}},
                           {{PROBE, "orphan"}}};
        result.keep_going = true;
        result.environment = {"VM_TEST=of the test"};
        result.files = {{PROBE, "/elsewhere/probe"}};
        result.modules = {"fuse", "vfio-pci", "virtio_pci"};
        result.network = true;
        result.ports = {{"bulk", "file,path=" + bulk_path_}};
        result.memories = {{"/proc/" + std::to_string(getpid()) + "/fd/" + std::to_string(memory_fd_), kMemoryBytes}};
        return result;
    }

    static void make_memory() {
        memory_fd_ = memfd_create("vm-boot-test", MFD_CLOEXEC);
        ASSERT_EQ(ftruncate(memory_fd_, kMemoryBytes), 0);
        void* memory = mmap(nullptr, kMemoryBytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory_fd_, 0);
        ASSERT_NE(memory, MAP_FAILED);
        memory_ = static_cast<std::uint64_t*>(memory);
        for (std::uint64_t i = 0; i < 256; ++i) memory_[i] = i * 3;
    }

    static void SetUpTestSuite() {
        bulk_path_ = testing::TempDir() + "vm_boot_test." + std::to_string(getpid());
        make_memory();
        Listener listener;
        Guest guest{options(listener.port)};
        result_ = guest.wait();
        output_ = guest.output();
        heard_ = listener.finish();
        RecordProperty("boot_ms", static_cast<int>(result_.boot_time.count()));
    }

    static void TearDownTestSuite() {
        munmap(memory_, kMemoryBytes);
        close(memory_fd_);
        unlink(bulk_path_.c_str());
    }

    void SetUp() override {
        ASSERT_EQ(result_.outcome, Outcome::kExited) << result_.message << "\n" << output_;
        ASSERT_EQ(result_.statuses.size(), std::size_t{kOrphan} + 1) << output_;
    }

    static int status(Index index) { return result_.statuses[index].as_shell(); }
    static bool printed(const std::string& line) { return output_.find(line + "\n") != std::string::npos; }

    static inline GuestResult result_;
    static inline std::string output_;
    static inline std::string heard_;
    static inline std::string bulk_path_;
    static inline int memory_fd_ = -1;
    static inline std::uint64_t* memory_ = nullptr;
};

TEST_F(GuestBoot, OutputArrivesLineByLine) {
    EXPECT_EQ(status(kPrint), 0);
    // A command in the background prints whenever it gets to it, so the lines need not follow each other.
    EXPECT_TRUE(printed("one line")) << output_;
    EXPECT_TRUE(printed("\na 'quoted' line")) << output_;
}

TEST_F(GuestBoot, StatusIsThatOfTheFirstCommandThatFailed) {
    EXPECT_EQ(status(kExit), 7);
    EXPECT_EQ(result_.status, 7);
    EXPECT_EQ(result_.exit_code(), 7);
    EXPECT_FALSE(result_.passed());
}

TEST_F(GuestBoot, ASignalIsToldFromAnExitStatus) {
    EXPECT_EQ(result_.statuses[kSignal].signal, 11);
    EXPECT_EQ(status(kSignal), 139);
}

TEST_F(GuestBoot, ADynamicallyLinkedProgramFindsItsLibraries) {
    EXPECT_EQ(status(kDynamic), 0);
    EXPECT_TRUE(printed("dynamically linked")) << output_;
}

TEST_F(GuestBoot, FilesAndEnvironmentAreWhereTheyWereAskedFor) {
    EXPECT_EQ(status(kEnvironment), 0);
    EXPECT_TRUE(printed("of the test")) << output_;
}

TEST_F(GuestBoot, ModulesAndTheirDependenciesAreLoaded) {
    EXPECT_EQ(status(kModule), 0);
    EXPECT_EQ(status(kModuleDependent), 0);
}

TEST_F(GuestBoot, NetworkReachesTheHostsLoopback) {
    EXPECT_EQ(status(kNetwork), 0);
    EXPECT_EQ(heard_, "guest");
}

TEST_F(GuestBoot, BulkOutputArrivesComplete) {
    EXPECT_EQ(status(kBulk), 0);
    std::ifstream in{bulk_path_, std::ios::binary};
    const std::string bytes{std::istreambuf_iterator<char>{in}, {}};
    ASSERT_EQ(bytes.size(), 1'000'000U);
    for (std::size_t i = 0; i < bytes.size(); ++i) ASSERT_EQ(bytes[i], static_cast<char>('a' + i % 26)) << i;
}

TEST_F(GuestBoot, DeviceMemoryIsSharedAtAChosenAddress) {
    EXPECT_EQ(status(kMemory), 0);
    EXPECT_TRUE(printed("mapped at 0x110000000000")) << output_;
    for (std::uint64_t i = 0; i < 256; ++i) ASSERT_EQ(memory_[256 + i], i * 5) << i;
}

TEST_F(GuestBoot, ProcessesLeftBehindDoNotKeepItFromEnding) {
    EXPECT_EQ(status(kOrphan), 0);
}

TEST(GuestPmem, IsADaxDeviceWhereAnInfoBlockSaysSo) {
    constexpr std::size_t bytes = std::size_t{16} << 20;
    const SharedFile file(bytes);
    write_dax_info(file.base(), bytes, 1);
    auto* const words = reinterpret_cast<std::uint64_t*>(file.base() + kDaxDataOffset);
    for (std::uint64_t i = 0; i < 256; ++i) words[i] = i * 7;
    GuestOptions options;
    options.pmem = {file.device()};
    options.commands = {{{PROBE, "dax", "/dev/dax0.0"}}};
    Guest guest{options};
    EXPECT_EQ(guest.wait().exit_code(), 0) << guest.wait().message << guest.output();
    for (std::uint64_t i = 0; i < 256; ++i) ASSERT_EQ(words[256 + i], i * 9) << i;
}

TEST(GuestPmem, IsABlockDeviceElse) {
    const SharedFile file(std::size_t{16} << 20);
    GuestOptions options;
    options.pmem = {file.device()};
    options.commands = {{{PROBE, "exists", "/dev/pmem0"}}};
    Guest guest{options};
    EXPECT_EQ(guest.wait().exit_code(), 0) << guest.wait().message << guest.output();
}

}  // namespace
}  // namespace vmrpc::vm
