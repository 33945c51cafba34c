#include "transport/vm/sentinel.hpp"

#include "transport/vm/sentinel_protocol.hpp"

#include <fmt/format.h>

#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <memory>
#include <mutex>

namespace vmrpc::transport::vm {
namespace {

constexpr int kFirstFreeFd = 16;  // above those that the sentinel wants
constexpr std::size_t kStackBytes = std::size_t{64} * 1024;

std::string folder_of(const std::string& path) {
    const std::size_t slash = path.rfind('/');
    return slash == std::string::npos ? "." : path.substr(0, slash);
}

std::string folder_of_program() {
    std::array<char, PATH_MAX> path{};
    const ssize_t bytes = ::readlink("/proc/self/exe", path.data(), path.size());
    return bytes > 0 ? folder_of(std::string(path.data(), static_cast<std::size_t>(bytes))) : "";
}

std::string folder_of_library() {
    Dl_info info{};
    static const char kHere = 0;
    return ::dladdr(&kHere, &info) != 0 && info.dli_fname != nullptr ? folder_of(info.dli_fname) : "";
}

/// What the helper process of start() shares with it.
struct Launch {
    const char* program;
    char** arguments;
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    int error;
};

// Runs in a process of its own, in this one's memory, while the calling thread stands still (as after vfork). Not
// instrumented: the address sanitizer knows nothing of its stack.
[[gnu::no_sanitize_address]] int launch(void* argument) {
    auto* launch = static_cast<Launch*>(argument);
    pid_t sentinel = -1;
    launch->error =
        ::posix_spawn(&sentinel, launch->program, &launch->actions, &launch->attributes, launch->arguments, environ);
    ::_exit(0);
}

// The sentinel's parent is a helper that ends at once, so that it is adopted by init. The helper is no child in the
// eyes of wait() and sends no SIGCHLD: its exit signal is 0.
int run_helper(Launch& launch_arguments) {
    const auto stack = std::make_unique<std::array<std::byte, kStackBytes>>();
    sigset_t all{};
    sigset_t before{};
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);  // the helper must not run the program's handlers
    const pid_t helper = ::clone(launch, stack->data() + stack->size(), CLONE_VM | CLONE_VFORK, &launch_arguments);
    const int error = errno;
    if (helper > 0) {
        while (::waitpid(helper, nullptr, static_cast<int>(__WCLONE)) < 0 && errno == EINTR) {
        }
    }
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return helper > 0 ? launch_arguments.error : error;
}

void prepare(Launch& launch, const std::vector<notify::GuardedFd>& descriptors) {
    ::posix_spawn_file_actions_init(&launch.actions);
    for (std::size_t i = 0; i < descriptors.size(); ++i)
        ::posix_spawn_file_actions_adddup2(&launch.actions, descriptors[i].get(), kWardFd + static_cast<int>(i));
    ::posix_spawn_file_actions_addclosefrom_np(&launch.actions, kWardFd + static_cast<int>(descriptors.size()));
    ::posix_spawnattr_init(&launch.attributes);
    sigset_t signals{};
    ::sigemptyset(&signals);
    ::posix_spawnattr_setsigmask(&launch.attributes, &signals);
    ::sigfillset(&signals);
    ::posix_spawnattr_setsigdefault(&launch.attributes, &signals);
    // A session of its own: Ctrl-C is for the program, and must not end the sentinel before it.
    ::posix_spawnattr_setflags(&launch.attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);
}

int spawn(const std::string& program, std::vector<std::string>& arguments,
          const std::vector<notify::GuardedFd>& descriptors) {
    std::vector<char*> pointers;
    pointers.reserve(arguments.size() + 1);
    for (std::string& argument : arguments) pointers.push_back(argument.data());
    pointers.push_back(nullptr);
    Launch launch{
        .program = program.c_str(), .arguments = pointers.data(), .actions = {}, .attributes = {}, .error = 0};
    prepare(launch, descriptors);
    const int error = run_helper(launch);
    ::posix_spawn_file_actions_destroy(&launch.actions);
    ::posix_spawnattr_destroy(&launch.attributes);
    return error;
}

}  // namespace

base::Result<std::string> find_sentinel() {
    std::vector<std::string> places;
    // NOLINTNEXTLINE(concurrency-mt-unsafe): a program that sets it while it connects gets what it deserves
    if (const char* named = ::secure_getenv("VMRPC_SENTINEL"); named != nullptr && *named != '\0') {
        places.emplace_back(named);
    } else {
        for (const std::string& folder : {folder_of_program(), folder_of_library(), std::string(VMRPC_LIBEXEC_DIR)})
            if (!folder.empty()) places.push_back(fmt::format("{}/{}", folder, kSentinelProgram));
    }
    for (const std::string& place : places)
        if (::access(place.c_str(), X_OK) == 0) return place;
    return base::fail(VMRPC_NOT_SUPPORTED,
                      fmt::format("the program {} is not there (looked for: {}): it tells a peer in another VM that "
                                  "this process has died; install it, or set VMRPC_SENTINEL to its path",
                                  kSentinelProgram, fmt::join(places, ", ")));
}

base::Result<Sentinel> Sentinel::start(const std::string& program, std::vector<std::string> arguments,
                                       const std::vector<int>& descriptors) {
    auto ward = notify::GuardedFd::made_by([] { return static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0)); });
    if (!ward.valid()) return base::fail_errno("cannot start a sentinel: pidfd_open", errno);
    std::array<int, 2> ends{-1, -1};
    auto order = notify::GuardedFd::made_by(
        [&ends] { return ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) == 0 ? ends[0] : -1; });
    if (!order.valid()) return base::fail_errno("cannot start a sentinel: socketpair", errno);
    const auto theirs = notify::GuardedFd::made_by([&ends] { return ends[1]; });
    // Copies with high numbers, so that dup2 onto the low ones does not overwrite what is still needed.
    std::vector<notify::GuardedFd> high;
    const auto add = [&high](int descriptor) {
        high.push_back(
            notify::GuardedFd::made_by([descriptor] { return ::fcntl(descriptor, F_DUPFD_CLOEXEC, kFirstFreeFd); }));
        return high.back().valid();
    };
    bool added = add(ward.get()) && add(theirs.get());
    for (const int descriptor : descriptors) added = added && add(descriptor);
    if (!added) return base::fail_errno("cannot start a sentinel: no descriptor left", errno);
    arguments.insert(arguments.begin(), program);
    if (const int error = spawn(program, arguments, high); error != 0)
        return base::fail_errno(fmt::format("cannot start {}", program), error);
    return Sentinel(std::move(order));
}

void Sentinel::dismiss() noexcept {
    if (!order_.valid()) return;
    const char order = 'e';
    // A sentinel that is gone already needs no order.
    static_cast<void>(::send(order_.get(), &order, 1, MSG_NOSIGNAL | MSG_DONTWAIT));
    order_.reset();
}

}  // namespace vmrpc::transport::vm
