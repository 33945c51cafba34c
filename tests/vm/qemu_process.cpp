#include "qemu_process.hpp"

#include "qemu_command.hpp"

#include <fcntl.h>
#include <linux/close_range.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <system_error>

namespace vmrpc::vm {
namespace {

[[noreturn]] void fail(const char* what, int error = errno) {
    throw std::system_error(error, std::generic_category(), what);
}

// Above the numbers that the child gives to its descriptors, so that none is overwritten before it is copied.
Descriptor moved_up(int fd) {
    constexpr int kFirstFree = 10;
    Descriptor moved{fcntl(fd, F_DUPFD_CLOEXEC, kFirstFree)};
    if (moved.get() < 0) fail("fcntl");
    return moved;
}

struct Pipe {
    Descriptor read_end;
    Descriptor write_end;
};

Pipe make_pipe() {
    std::array<int, 2> fds{};
    if (pipe2(fds.data(), O_CLOEXEC) != 0) fail("pipe2");
    Pipe pipe{Descriptor{fds[0]}, Descriptor{fds[1]}};
    pipe.write_end = moved_up(pipe.write_end.get());
    return pipe;
}

struct Sockets {
    Descriptor ours;
    Descriptor theirs;
};

Sockets make_sockets() {
    std::array<int, 2> fds{};
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds.data()) != 0) fail("socketpair");
    Sockets sockets{Descriptor{fds[0]}, Descriptor{fds[1]}};
    sockets.theirs = moved_up(sockets.theirs.get());
    return sockets;
}

Descriptor non_blocking(Descriptor fd) {
    if (fcntl(fd.get(), F_SETFL, O_NONBLOCK) != 0) fail("fcntl");
    return fd;
}

struct ChildSide {
    char* const* argv;
    std::array<int, 6> fds;  // what becomes descriptor 0 to 5
    int exec_error;          // gets errno if the program cannot be run
    pid_t parent;
};

// Between fork and exec only async-signal-safe calls: other threads' locks may be held for ever.
[[noreturn]] void become_qemu(const ChildSide& side) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != side.parent) _exit(127);  // the parent was gone before that took effect
    setpgid(0, 0);                             // Ctrl-C is for this program, which then ends QEMU
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    for (std::size_t i = 0; i < side.fds.size(); ++i) dup2(side.fds[i], static_cast<int>(i));
    close_range(static_cast<unsigned>(side.fds.size()), ~0U, CLOSE_RANGE_CLOEXEC);
    execv(side.argv[0], side.argv);
    const int error = errno;
    const auto ignored = write(side.exec_error, &error, sizeof error);
    static_cast<void>(ignored);
    _exit(127);
}

void check_exec(Pipe& exec_error) {
    exec_error.write_end.reset();
    int error = 0;
    if (read(exec_error.read_end.get(), &error, sizeof error) > 0) fail("cannot run QEMU", error);
}

}  // namespace

Descriptor::~Descriptor() {
    if (fd_ >= 0) close(fd_);
}

void kill_process(const Descriptor& pidfd) {
    syscall(SYS_pidfd_send_signal, pidfd.get(), SIGKILL, nullptr, 0);
}

QemuProcess start_qemu(const std::vector<std::string>& args, int initramfs) {
    auto output = make_pipe();
    auto errors = make_pipe();
    auto report = make_pipe();
    auto exec_error = make_pipe();
    auto control = make_sockets();
    const Descriptor image = moved_up(initramfs);
    const Descriptor nothing = moved_up(Descriptor{open("/dev/null", O_RDONLY | O_CLOEXEC)}.get());
    std::vector<char*> argv;
    for (const auto& arg : args) argv.push_back(const_cast<char*>(arg.c_str()));
    argv.push_back(nullptr);
    static_assert(kInitramfsFd == 3 && kReportFd == 4 && kControlFd == 5, "the order below");
    const ChildSide side{argv.data(),
                         {nothing.get(), output.write_end.get(), errors.write_end.get(), image.get(),
                          report.write_end.get(), control.theirs.get()},
                         exec_error.write_end.get(),
                         getpid()};

    QemuProcess process;
    process.pid = fork();
    if (process.pid < 0) fail("fork");
    if (process.pid == 0) become_qemu(side);
    try {
        check_exec(exec_error);
        process.pidfd = Descriptor{static_cast<int>(syscall(SYS_pidfd_open, process.pid, 0))};
        if (process.pidfd.get() < 0) fail("pidfd_open");
    } catch (...) {
        ::kill(process.pid, SIGKILL);  // not reaped yet, so the number is still its own
        waitpid(process.pid, nullptr, 0);
        throw;
    }
    process.output = non_blocking(std::move(output.read_end));
    process.errors = non_blocking(std::move(errors.read_end));
    process.report = non_blocking(std::move(report.read_end));
    process.control = std::move(control.ours);
    return process;
}

}  // namespace vmrpc::vm
