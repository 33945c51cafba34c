// In a guest: an ordinary process, without privileges, that talks over AF_VSOCK to vsock_test on the host. As root,
// with the argument restart-driver, it does that.
#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace {

constexpr unsigned kEchoPort = 1024;
constexpr unsigned kRefusedPort = 1025;
constexpr unsigned kVictimPort = 1026;
constexpr unsigned kReportPort = 1027;
constexpr unsigned kCountPort = 1028;  // tells how many victims have come to their end
constexpr int kPatienceMs = 60'000;

#define EXPECT(condition)                                                                          \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            std::printf("line %d: not so: %s (%s)\n", __LINE__, #condition, std::strerror(errno)); \
            std::fflush(stdout);                                                                   \
            std::_Exit(1);                                                                         \
        }                                                                                          \
    } while (false)

int stream_to(unsigned port) {
    const int stream = ::socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
    EXPECT(stream >= 0);
    sockaddr_vm address{};
    address.svm_family = AF_VSOCK;
    address.svm_cid = VMADDR_CID_HOST;
    address.svm_port = port;
    if (::connect(stream, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return stream;
    const int error = errno;
    ::close(stream);
    errno = error;
    return -1;
}

bool becomes_ready(int stream, short events, int patience_ms = kPatienceMs) {
    pollfd poll{.fd = stream, .events = events, .revents = 0};
    return ::poll(&poll, 1, patience_ms) == 1;
}

void ping(int stream, char value) {
    EXPECT(::send(stream, &value, 1, MSG_NOSIGNAL) == 1);
    char echo = 0;
    EXPECT(becomes_ready(stream, POLLIN));
    EXPECT(::recv(stream, &echo, 1, 0) == 1);
    EXPECT(echo == value);
}

std::int64_t now_ns() {
    timespec time{};
    ::clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * std::int64_t{1'000'000'000} + time.tv_nsec;
}

void ping_pong() {
    const int stream = stream_to(kEchoPort);
    EXPECT(stream >= 0);
    std::vector<std::int64_t> times_ns(1000);
    for (std::size_t i = 0; i < times_ns.size(); ++i) {
        const std::int64_t start = now_ns();
        ping(stream, static_cast<char>(i));
        times_ns[i] = now_ns() - start;
    }
    std::sort(times_ns.begin(), times_ns.end());
    std::printf("1000 round trips of a byte, median %.1f us\n", static_cast<double>(times_ns[500]) / 1e3);
    ::close(stream);
}

// More than either side buffers: both directions must be served at once.
void bulk() {
    const int stream = stream_to(kEchoPort);
    EXPECT(stream >= 0);
    std::vector<std::uint32_t> words(1024 * 1024 / sizeof(std::uint32_t));
    for (std::size_t i = 0; i < words.size(); ++i) words[i] = static_cast<std::uint32_t>(i * 2654435761U);
    const auto* const out = reinterpret_cast<const char*>(words.data());
    const std::size_t bytes = words.size() * sizeof words[0];
    std::vector<char> in(bytes);
    std::size_t sent = 0;
    for (std::size_t received = 0; received < bytes;) {
        EXPECT(becomes_ready(stream, sent < bytes ? POLLIN | POLLOUT : POLLIN));
        const ssize_t put = sent < bytes ? ::send(stream, out + sent, bytes - sent, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;
        EXPECT(put >= 0 || errno == EAGAIN);
        if (put > 0) sent += static_cast<std::size_t>(put);
        const ssize_t got = ::recv(stream, in.data() + received, bytes - received, MSG_DONTWAIT);
        EXPECT(got > 0 || (got < 0 && errno == EAGAIN));
        if (got > 0) received += static_cast<std::size_t>(got);
    }
    EXPECT(std::memcmp(in.data(), out, bytes) == 0);
    std::printf("%zu bytes there and back\n", bytes);
    ::close(stream);
}

void eight_at_once() {
    std::array<int, 8> streams{};
    for (int& stream : streams) EXPECT((stream = stream_to(kEchoPort)) >= 0);
    for (std::size_t i = 0; i < streams.size(); ++i) {
        const char value = static_cast<char>('a' + i);
        EXPECT(::send(streams[i], &value, 1, MSG_NOSIGNAL) == 1);
    }
    for (std::size_t i = streams.size(); i-- > 0;) {
        char echo = 0;
        EXPECT(becomes_ready(streams[i], POLLIN));
        EXPECT(::recv(streams[i], &echo, 1, 0) == 1);
        EXPECT(echo == static_cast<char>('a' + i));
    }
    for (const int stream : streams) ::close(stream);
    std::puts("8 streams at once");
}

// The host sends a byte to who is connected to kReportPort when a stream of kVictimPort is closed.
void killed_with_a_stream_open() {
    const int report = stream_to(kReportPort);
    EXPECT(report >= 0);
    std::array<int, 2> ready{};
    EXPECT(::pipe(ready.data()) == 0);
    const pid_t child = ::fork();
    EXPECT(child >= 0);
    if (child == 0) {
        const int stream = stream_to(kVictimPort);
        EXPECT(stream >= 0);
        EXPECT(::write(ready[1], "x", 1) == 1);
        while (true) ::pause();
    }
    char byte = 0;
    EXPECT(::read(ready[0], &byte, 1) == 1);
    EXPECT(!becomes_ready(report, POLLIN, 300));  // it lives, and nothing is reported
    EXPECT(::kill(child, SIGKILL) == 0);
    EXPECT(::waitpid(child, nullptr, 0) == child);
    EXPECT(becomes_ready(report, POLLIN));
    EXPECT(::recv(report, &byte, 1, 0) == 1);
    EXPECT(byte == 'c');
    ::close(report);
    std::puts("the host saw the end of the process that was killed");
}

void refused() {
    EXPECT(stream_to(kRefusedPort) == -1);
    EXPECT(errno == ECONNRESET);
    std::puts("refused with ECONNRESET");
}

void write_to(const std::string& path, const std::string& text) {
    const int file = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
    EXPECT(file >= 0);
    EXPECT(::write(file, text.data(), text.size()) == static_cast<ssize_t>(text.size()));
    ::close(file);
}

// What a guest that reboots does to the device: its driver is taken away, with a stream open, and comes anew.
int restart_driver() {
    const std::string folder = "/sys/bus/virtio/drivers/vmw_vsock_virtio_transport/";
    std::string device;
    for (int i = 0; i < 16 && device.empty(); ++i)
        if (::access((folder + "virtio" + std::to_string(i)).c_str(), F_OK) == 0) device = "virtio" + std::to_string(i);
    EXPECT(!device.empty());
    const int stream = stream_to(kVictimPort);
    EXPECT(stream >= 0);
    write_to(folder + "unbind", device);
    char byte = 0;
    EXPECT(::recv(stream, &byte, 1, 0) <= 0);
    write_to(folder + "bind", device);
    const int anew = stream_to(kEchoPort);
    EXPECT(anew >= 0);
    ping(anew, 'x');
    const int count = stream_to(kCountPort);
    EXPECT(count >= 0);
    EXPECT(becomes_ready(count, POLLIN));
    EXPECT(::recv(count, &byte, 1, 0) == 1);
    EXPECT(byte == '2');  // the one that was killed, and this one
    std::puts("the driver was restarted");
    return 0;
}

}  // namespace

int main(int count, char** arguments) {
    if (count == 2 && std::strcmp(arguments[1], "restart-driver") == 0) return restart_driver();
    EXPECT(::setgid(1000) == 0 && ::setuid(1000) == 0);
    EXPECT(::setuid(0) != 0);
    ping_pong();
    bulk();
    eight_at_once();
    killed_with_a_stream_open();
    refused();
    std::puts("all done");
    return 0;
}
