// ring=serial: what the service makes of a port that outlives its processes, and what a process finds on one.
#include "notify/housekeeper.hpp"
#include "transport/socket.hpp"
#include "transport/vm/interrupt_wait.hpp"
#include "transport/vm/memory_file.hpp"
#include "transport/vm/ram/ram_protocol.hpp"
#include "transport/vm/ring_reader.hpp"
#include "transport/vm/serial_port.hpp"
#include "transport/vm/serial_ports.hpp"
#include "transport/vm/stream_doorbell.hpp"

#include <vmrpc/vmrpc.hpp>

#include <gtest/gtest.h>

#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

std::int64_t serial_add(std::int64_t a, std::int64_t b);

namespace vmrpc::transport::vm {
namespace {

using Bytes = std::vector<std::byte>;

constexpr std::uint32_t kEntries = 4;
const layout::Uuid kSegment{0x52, 0x69, 0x6e, 0x67, 0, 1, 2, 3, 0x52, 0x69, 0x6e, 0x67, 0, 0, 1, 0};
const Bytes kBothRings{std::byte{kRequestVector}, std::byte{kDirectoryVector}};

Bytes hello_of(std::uint32_t entry, const layout::Uuid& segment = kSegment) {
    const StreamHello hello{.magic = kStreamMagic, .entry = entry, .segment_uuid = segment};
    Bytes bytes(sizeof hello);
    std::memcpy(bytes.data(), &hello, sizeof hello);
    return bytes;
}

Bytes operator+(Bytes first, const Bytes& second) {
    first.insert(first.end(), second.begin(), second.end());
    return first;
}

Bytes first_of(const Bytes& bytes, std::size_t count) {
    return {bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(count)};
}

/// All that is heard of these bytes, so many at a time.
RingReader::Heard heard(RingReader& reader, const Bytes& bytes, std::size_t at_once = 1'000) {
    RingReader::Heard all;
    for (std::size_t i = 0; i < bytes.size(); i += at_once) {
        const auto part = reader.take(std::span(bytes).subspan(i, std::min(at_once, bytes.size() - i)));
        all.bytes += part.bytes;
        all.requests |= part.requests;
        all.directory |= part.directory;
        all.has_nonsense |= part.has_nonsense;
        all.lends |= part.lends;
        if (part.entry) all.entry = part.entry;
    }
    return all;
}

TEST(RingReader, HearsRingsBeforeAndAfterAHello) {
    for (std::size_t at_once = 1; at_once < 40; ++at_once) {
        RingReader reader(kSegment, kEntries);
        const auto before = heard(reader, {std::byte{kDirectoryVector}});
        EXPECT_TRUE(before.directory && !before.requests && !before.entry && !before.has_nonsense);
        const auto hello = heard(reader, hello_of(3), at_once);
        EXPECT_EQ(hello.entry, 3U);
        EXPECT_TRUE(!hello.requests && !hello.directory && !hello.has_nonsense) << "a hello's bytes are no rings";
        const auto after = heard(reader, {std::byte{kRequestVector}});
        EXPECT_TRUE(after.requests && !after.directory && !after.entry && !after.has_nonsense);
    }
}

// A process that was cut off after any byte of what it said, with the rings of the next one before its hello, or not.
TEST(RingReader, FindsTheNextHello) {
    for (const Bytes& between : {Bytes{}, kBothRings, Bytes(30, std::byte{kDirectoryVector})}) {
        for (std::size_t cut = 0; cut <= sizeof(StreamHello); ++cut) {
            for (const std::size_t at_once : {1U, 5U, 1'000U}) {
                RingReader reader(kSegment, kEntries);
                const auto all = heard(reader, first_of(hello_of(2), cut) + between + hello_of(1), at_once);
                EXPECT_EQ(all.entry, 1U) << cut;
                EXPECT_GE(all.directory, !between.empty()) << cut;
                EXPECT_TRUE(heard(reader, {std::byte{kRequestVector}}).requests) << cut;
            }
        }
    }
}

TEST(RingReader, LeavesOutWhatIsNoHelloOfTheSegment) {
    layout::Uuid other = kSegment;
    other.back() ^= 1;
    for (const Bytes& wrong : {hello_of(kEntries), hello_of(256), hello_of(0xffff'ffff), hello_of(0, other),
                               Bytes{std::byte{kLeave}}, Bytes(100, std::byte{0x52})}) {
        RingReader reader(kSegment, kEntries);
        const auto first = heard(reader, wrong);
        EXPECT_TRUE(first.has_nonsense);
        EXPECT_FALSE(first.entry);
        EXPECT_EQ(heard(reader, hello_of(0)).entry, 0U);
    }
    RingReader nobody(kSegment, 0);
    EXPECT_FALSE(heard(nobody, hello_of(0)).entry);
}

TEST(RingReader, TellsWhoLendsOnlyWhereThatCanBe) {
    Bytes lends(sizeof kRamMagic);
    std::memcpy(lends.data(), &kRamMagic, sizeof kRamMagic);
    for (const std::size_t at_once : {1U, 3U, 1'000U}) {
        RingReader reader(kSegment, kEntries, RingReader::Lending::kYes);
        const auto all = heard(reader, kBothRings + lends, at_once);
        EXPECT_TRUE(all.lends && all.requests && all.directory && !all.has_nonsense);
    }
    RingReader behind(kSegment, kEntries, RingReader::Lending::kYes);
    EXPECT_EQ(behind.take(lends + hello_of(0)).bytes, sizeof kRamMagic) << "what is behind it is not ours";
    RingReader both(kSegment, kEntries, RingReader::Lending::kYes);
    EXPECT_EQ(heard(both, hello_of(1)).entry, 1U);
    EXPECT_FALSE(heard(both, lends).lends) << "it has said who it is";
    RingReader port(kSegment, kEntries);
    EXPECT_FALSE(heard(port, lends).lends);
}

// Whatever came before, a hello is heard; and nobody is who is not there.
TEST(RingReader, HearsAHelloBehindAnythingAtAll) {
    std::mt19937_64 random(20'261'123);
    const Bytes known = hello_of(1);
    for (int round = 0; round < 20'000; ++round) {
        RingReader reader(kSegment, kEntries);
        Bytes said;
        for (std::size_t pieces = random() % 6; pieces > 0; --pieces) {
            const std::size_t begin = random() % known.size();
            for (std::size_t i = begin; i < begin + random() % (known.size() - begin + 1); ++i)
                said.push_back(known[i]);
            if (random() % 2 == 0) said.push_back(static_cast<std::byte>(random()));
        }
        const auto before = heard(reader, said, 1 + random() % 50);
        ASSERT_LT(before.entry.value_or(0), kEntries);
        ASSERT_EQ(heard(reader, hello_of(3), 1 + random() % 50).entry, 3U) << round;
    }
}

bool soon(const std::function<bool()>& done) {
    for (int i = 0; i < 5'000 && !done(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(2));
    return done();
}

bool is_rung(int descriptor) {
    pollfd watched{descriptor, POLLIN, 0};
    std::uint64_t count = 0;
    return ::poll(&watched, 1, 10'000) == 1 && ::read(descriptor, &count, sizeof count) > 0;
}

void on_housekeeper(const std::function<void()>& work) {
    std::promise<void> done;
    const auto run = notify::after(0, [&] {
        work();
        done.set_value();
    });
    ASSERT_TRUE(run);
    done.get_future().wait();
}

/// QEMU's end of a port's chardev.
class Qemu {
  public:
    explicit Qemu(SerialPorts& ports) {
        std::array<int, 2> ends{};
        EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends.data()), 0);
        socket_.reset(ends[0]);
        on_housekeeper([&] { EXPECT_TRUE(ports.add(notify::GuardedFd::made_by([&] { return ends[1]; }))); });
    }
    void say(const Bytes& bytes) const {
        for (std::size_t said = 0; said < bytes.size();) {
            const ssize_t count = ::send(socket_.get(), bytes.data() + said, bytes.size() - said, MSG_NOSIGNAL);
            if (count > 0) said += static_cast<std::size_t>(count);
            if (count > 0 || errno == EAGAIN) continue;
            ADD_FAILURE() << std::strerror(errno);
            return;
        }
    }
    [[nodiscard]] bool becomes_rung() const {
        pollfd watched{socket_.get(), POLLIN, 0};
        return ::poll(&watched, 1, 10'000) == 1 && drain() > 0;
    }
    /// And acted on.
    void wait_until_read() const {
        int unread = 1;
        EXPECT_TRUE(soon([&] { return ::ioctl(socket_.get(), SIOCOUTQ, &unread) == 0 && unread == 0; }));
        on_housekeeper([] {});
    }
    [[nodiscard]] bool is_rung_now() const { return drain() > 0; }
    std::size_t drain() const {
        std::array<std::byte, 4096> bytes{};
        std::size_t all = 0;
        for (ssize_t count = 0; (count = ::recv(socket_.get(), bytes.data(), bytes.size(), 0)) > 0;)
            all += static_cast<std::size_t>(count);
        return all;
    }
    void end() { socket_.reset(); }

  private:
    base::Fd socket_;
};

class SerialPortsTest : public testing::Test {
  protected:
    SerialPortsTest() {
        service_.entries = kEntries;
        service_.most.heap_bytes = std::uint64_t{8} << 20;
        auto vm = Vm::make(service_, {});
        EXPECT_TRUE(vm) << vm.error().text;
        vm_ = *vm;
        ports_ = std::make_shared<SerialPorts>(vm_, vm_->uuid(), kEntries, [this] { ++ended_; });
    }
    /// A process takes this port: says hello, and is heard.
    void take(const Qemu& port, std::uint32_t entry) const {
        port.say(hello_of(entry, vm_->uuid()));
        EXPECT_TRUE(port.becomes_rung()) << "what was rung before its hello came";
    }
    [[nodiscard]] bool has_rung(Vector vector) const { return is_rung(vm_->bells()[vector].get()); }

    Service service_;
    std::shared_ptr<Vm> vm_;
    std::shared_ptr<SerialPorts> ports_;
    std::atomic<int> ended_ = 0;
};

TEST_F(SerialPortsTest, RingBothWays) {
    const Qemu first(*ports_);
    const Qemu second(*ports_);
    take(first, 2);
    take(second, 0);
    first.say({std::byte{kRequestVector}});
    EXPECT_TRUE(has_rung(kRequestVector));
    second.say({std::byte{kDirectoryVector}});
    EXPECT_TRUE(has_rung(kDirectoryVector));
    ports_->ring(2);
    EXPECT_TRUE(first.becomes_rung());
    EXPECT_FALSE(second.is_rung_now());
    ports_->ring(0);
    EXPECT_TRUE(second.becomes_rung());
    ports_->ring(1);  // nobody's
    ports_->ring(kEntries);
    EXPECT_FALSE(first.is_rung_now() || second.is_rung_now());
}

// A process dies; the next one on the port has another entry, and its own was another port's before.
TEST_F(SerialPortsTest, APortsNextProcessIsTheOneThatIsRung) {
    const Qemu first(*ports_);
    const Qemu second(*ports_);
    take(first, 2);
    take(second, 1);
    ports_->ring(2);                                   // it died before it read that: the next one does
    first.say(first_of(hello_of(3, vm_->uuid()), 9));  // cut off
    first.say({std::byte{kDirectoryVector}});
    EXPECT_TRUE(has_rung(kDirectoryVector));
    first.say(hello_of(1, vm_->uuid()));
    first.wait_until_read();
    EXPECT_EQ(first.drain(), 2U) << "what was stale, and the answer to its hello";
    ports_->ring(1);
    EXPECT_TRUE(first.becomes_rung());
    EXPECT_FALSE(second.is_rung_now());
    ports_->ring(2);
    EXPECT_FALSE(first.is_rung_now()) << "entry 2 is nobody's any more";
    take(second, 2);
    ports_->ring(2);
    EXPECT_TRUE(second.becomes_rung());
    ports_->ring(1);
    EXPECT_TRUE(first.becomes_rung());
}

// Nobody reads: more rings than any socket has room for. The process that reads at last was rung, and is again.
TEST_F(SerialPortsTest, AFullSocketBlocksNobody) {
    const Qemu port(*ports_);
    take(port, 0);
    for (int i = 0; i < 500'000; ++i) ports_->ring(0);
    const std::size_t rings = port.drain();
    EXPECT_GT(rings, 0U);
    EXPECT_LT(rings, 500'000U) << "it was never full";
    ports_->ring(0);
    EXPECT_TRUE(port.becomes_rung());
}

TEST_F(SerialPortsTest, AnythingThatAGuestSaysLeavesThePortUsable) {
    std::mt19937_64 random(20'261'123);
    const Qemu hostile(*ports_);
    const Qemu other(*ports_);
    take(other, 1);
    for (int round = 0; round < 200; ++round) {
        Bytes bytes(random() % 8'000);
        for (auto& byte : bytes) byte = static_cast<std::byte>(random() % (round % 2 == 0 ? 3 : 256));
        hostile.say(bytes);
        hostile.say(first_of(hello_of(static_cast<std::uint32_t>(random() % 8), vm_->uuid()), random() % 25));
    }
    hostile.say(hello_of(3, vm_->uuid()));
    hostile.wait_until_read();
    hostile.drain();
    ports_->ring(3);
    EXPECT_TRUE(hostile.becomes_rung());
    take(other, 1);
}

TEST_F(SerialPortsTest, TheLastSocketsEndIsQemus) {
    Qemu first(*ports_);
    Qemu second(*ports_);
    take(first, 0);
    take(second, 1);
    first.end();
    ports_->ring(0);
    take(second, 0);  // one event later
    EXPECT_EQ(ended_, 0);
    second.end();
    EXPECT_TRUE(soon([&] { return ended_ == 1; }));
    ports_->ring(0);
    on_housekeeper([&] { EXPECT_TRUE(ports_->empty()); });
}

/// A service, at whose folder's sockets this test connects as a VM's QEMU does.
class SerialService : public testing::Test {
  protected:
    SerialService() : folder_("/dev/shm/vmrpc-test-XXXXXX") {
        EXPECT_NE(::mkdtemp(folder_.data()), nullptr);
        EXPECT_TRUE(make_memory_file(folder_ + "/a.mem", std::uint64_t{16} << 20));
    }
    ~SerialService() override { std::filesystem::remove_all(folder_); }

    static int connect_to(const std::string& path) {
        const auto address = socket_address("vm", path);
        const int socket = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (::connect(socket, reinterpret_cast<const sockaddr*>(&*address), sizeof *address) == 0) return socket;
        ::close(socket);
        return -1;
    }
    [[nodiscard]] std::string socket() const { return folder_ + "/a.serial"; }

    std::string folder_;
};

TEST_F(SerialService, OpensThatSocketForThatRing) {
    for (const std::string ring : {"best", "serial", "vsock", "doorbell", "poll"}) {
        vmrpc::Server server("vm:" + folder_ + "?ring=" + ring);
        ASSERT_TRUE(server.status()) << server.status().error().message();
        EXPECT_TRUE(soon([&] { return std::filesystem::exists(folder_ + "/a.poll"); }));
        EXPECT_EQ(std::filesystem::exists(socket()), ring == "best" || ring == "serial") << ring;
    }
    EXPECT_EQ(vmrpc::Client::connect("vm:?memory=ram&ring=serial").error().status, VMRPC_BAD_ADDRESS);
}

TEST_F(SerialService, LosesTheVmWithItsLastPort) {
    vmrpc::Server server("vm:" + folder_ + "?ring=serial");
    server.add<serial_add>([](std::int64_t a, std::int64_t b) { return a + b; });
    const auto runs = std::async(std::launch::async, [&] { static_cast<void>(server.run()); });
    const auto stops = std::shared_ptr<void>(nullptr, [&](void*) { server.stop(); });
    ASSERT_TRUE(soon([&] { return std::filesystem::exists(socket()); }));
    base::Fd first(connect_to(socket()));
    base::Fd second(connect_to(socket()));
    ASSERT_TRUE(first.valid() && second.valid());
    const auto client = vmrpc::Client::connect("vm:" + folder_ + "/a.mem");
    ASSERT_TRUE(client) << client.error().message();
    EXPECT_EQ(client->call<serial_add>(1, 2).value(), 3);
    first.reset();
    EXPECT_EQ(client->call<serial_add>(3, 4).value(), 7);
    second.reset();
    EXPECT_TRUE(soon([&] { return !client->call<serial_add>(5, 6); }));
    EXPECT_EQ(client->call<serial_add>(5, 6).error().status, VMRPC_PEER_LOST);
}

TEST_F(SerialService, TurnsAnotherQemuAway) {
    const vmrpc::Server server("vm:" + folder_ + "?ring=serial");
    ASSERT_TRUE(soon([&] { return std::filesystem::exists(socket()); }));
    const base::Fd own(connect_to(socket()));
    ASSERT_TRUE(own.valid());
    const pid_t other = ::fork();
    if (other == 0) {
        const int socket_of_other = connect_to(socket());
        char byte = 0;
        ::alarm(20);
        ::_exit(socket_of_other >= 0 && ::read(socket_of_other, &byte, 1) == 0 ? 0 : 1);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(other, &status, 0), other);
    EXPECT_EQ(status, 0) << "it was let in";
    pollfd watched{own.get(), POLLIN | POLLRDHUP, 0};
    EXPECT_EQ(::poll(&watched, 1, 0), 0);
}

/// Folders in place of a guest's sysfs and /dev, with FIFOs in place of ports.
class GuestPorts : public testing::Test {
  protected:
    GuestPorts() : folder_("/tmp/vmrpc-test-XXXXXX") {
        EXPECT_NE(::mkdtemp(folder_.data()), nullptr);
        places_ = {folder_ + "/sys", folder_ + "/dev"};
        std::filesystem::create_directories(places_.devices);
    }
    ~GuestPorts() override { std::filesystem::remove_all(folder_); }
    std::string add(const std::string& device, const std::string& name) const {
        std::filesystem::create_directories(places_.ports + "/" + device);
        std::ofstream(places_.ports + "/" + device + "/name") << name << '\n';
        std::string path = places_.devices + "/" + device;
        EXPECT_EQ(::mkfifo(path.c_str(), 0600), 0);
        return path;
    }
    [[nodiscard]] base::Result<notify::GuardedFd> open() const {
        return open_serial_port(base::Deadline::in(10'000'000), places_);
    }
    void expect_error(vmrpc_status status, const std::string& text) const {
        const auto port = open();
        ASSERT_FALSE(port);
        EXPECT_EQ(port.error().status, status);
        EXPECT_NE(port.error().text.find(text), std::string::npos) << port.error().text;
    }

    std::string folder_;
    PortPlaces places_;
};

TEST_F(GuestPorts, AreThoseOfOurName) {
    expect_error(VMRPC_NO_SERVER, "give the VM ports");
    add("vport1p1", "org.qemu.guest_agent.0");
    add("vport1p2", "not.vmrpc.0");
    expect_error(VMRPC_NO_SERVER, "give the VM ports");
    add("vport2p2", "vmrpc.1");
    add("vport2p1", "vmrpc.0");
    EXPECT_EQ(serial_ports(places_), (std::vector<std::string>{"vport2p1", "vport2p2"}));
}

TEST_F(GuestPorts, AreFreeOfWhatWasMeantForTheProcessBefore) {
    const std::string path = add("vport1p1", "vmrpc.0");
    const base::Fd qemu(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK));
    const Bytes stale(20'000, std::byte{kRequestVector});
    ASSERT_EQ(::write(qemu.get(), stale.data(), stale.size()), static_cast<ssize_t>(stale.size()));
    const auto port = open();
    ASSERT_TRUE(port) << port.error().text;
    std::byte byte{};
    EXPECT_EQ(::read(port->get(), &byte, 1), -1);
    EXPECT_EQ(errno, EAGAIN);
}

TEST_F(GuestPorts, SayWhyTheyCannotBeHad) {
    const std::string path = add("vport1p1", "vmrpc.0");
    std::filesystem::remove(path);
    expect_error(VMRPC_OUT_OF_RESOURCES, "No such file");
    ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
    ::chmod(folder_.c_str(), 0755);
    const bool is_root = ::geteuid() == 0;  // who may everything
    if (is_root) {
        ASSERT_EQ(::seteuid(65534), 0);
    }
    if (!is_root) {
        ASSERT_EQ(::chmod(path.c_str(), 0), 0);
    }
    expect_error(VMRPC_NOT_PERMITTED, "group vmrpc");
    if (is_root) {
        ASSERT_EQ(::seteuid(0), 0);
    }
}

// A port is no socket: what is written to it is what a socket is sent.
TEST_F(GuestPorts, AreSaidHelloAndRung) {
    add("vport1p1", "vmrpc.0");
    auto port = open();
    ASSERT_TRUE(port);
    const base::Fd qemu(::open((places_.devices + "/vport1p1").c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK));
    const auto doorbell = make_stream_doorbell(std::move(*port), kSegment);
    doorbell->ring(kDirectoryVector);
    const auto interrupt = doorbell->interrupt(3);
    ASSERT_TRUE(interrupt) << interrupt.error().text;
    EXPECT_EQ(interrupt->ring_vector, kRungByStream);
    doorbell->ring(kRequestVector);
    Bytes said(100);
    said.resize(static_cast<std::size_t>(std::max<ssize_t>(0, ::read(qemu.get(), said.data(), said.size()))));
    EXPECT_EQ(said, Bytes{std::byte{kDirectoryVector}} + hello_of(3) + Bytes{std::byte{kRequestVector}});
}

// Stale rings wake a process without need, and it sleeps again; the other end's end is told from them.
TEST(InterruptWait, OnAPort) {
    std::array<int, 2> ends{};
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends.data()), 0);
    base::Fd qemu(ends[0]);
    const Bytes stale(100, std::byte{kRequestVector});
    ASSERT_EQ(::write(qemu.get(), stale.data(), stale.size()), static_cast<ssize_t>(stale.size()));
    const auto wait = InterruptWait::make({notify::GuardedFd::made_by([&] { return ends[1]; }), kRungByStream});
    ASSERT_TRUE(wait);
    for (int i = 0; i < 2; ++i) (*wait)->wait(base::Deadline());
    std::atomic<bool> woken = false;
    std::thread sleeper([&] {
        (*wait)->wait(base::Deadline());
        woken = true;
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    EXPECT_FALSE(woken) << "all that was stale is read";
    ASSERT_EQ(::write(qemu.get(), stale.data(), 1), 1);
    sleeper.join();
    EXPECT_FALSE((*wait)->has_hung_up());
    qemu.reset();
    (*wait)->wait(base::Deadline());
    EXPECT_TRUE((*wait)->has_hung_up());
}

}  // namespace
}  // namespace vmrpc::transport::vm
