#include "transport/vm/launch.hpp"

#include "notify/fork_guard.hpp"

#include <fmt/format.h>

#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <memory>

namespace vmrpc::transport::vm {
namespace {

constexpr int kFirstFreeFd = 16;  // above those that the program wants
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

/// The folder of the library's own programs, in an installed tree whose folder `name` (bin, lib) is `folder`; empty if
/// that is another. The prefix can be another than the one that the library was built for: `cmake --install --prefix`.
std::string libexec_beside(const std::string& folder, const std::string& name) {
    std::array<char, PATH_MAX> path{};
    if (::realpath(folder.c_str(), path.data()) == nullptr) return "";  // /lib is /usr/lib, where the loader says /lib
    const std::string real = path.data();
    if (!real.ends_with("/" + name)) return "";
    return real.substr(0, real.size() - name.size()) + VMRPC_LIBEXEC_NAME "/vmrpc";
}

/// What the helper process of launch() shares with it.
struct Spawn {
    const char* program;
    char** arguments;
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    int error;
};

// Runs in a process of its own, in this one's memory, while the calling thread stands still (as after vfork). Not
// instrumented: the address sanitizer knows nothing of its stack.
[[gnu::no_sanitize_address]] int helper_main(void* argument) {
    auto* spawn = static_cast<Spawn*>(argument);
    pid_t program = -1;
    spawn->error =
        ::posix_spawn(&program, spawn->program, &spawn->actions, &spawn->attributes, spawn->arguments, environ);
    ::_exit(0);
}

// The program's parent is a helper that ends at once, so that it is adopted by init. The helper is no child in the
// eyes of wait() and sends no SIGCHLD: its exit signal is 0.
int run_helper(Spawn& spawn) {
    const auto stack = std::make_unique<std::array<std::byte, kStackBytes>>();
    sigset_t all{};
    sigset_t before{};
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);  // the helper must not run the program's handlers
    const pid_t helper = ::clone(helper_main, stack->data() + stack->size(), CLONE_VM | CLONE_VFORK, &spawn);
    const int error = errno;
    if (helper > 0) {
        while (::waitpid(helper, nullptr, static_cast<int>(__WCLONE)) < 0 && errno == EINTR) {
        }
    }
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return helper > 0 ? spawn.error : error;
}

void prepare(Spawn& spawn, const std::vector<notify::GuardedFd>& descriptors) {
    ::posix_spawn_file_actions_init(&spawn.actions);
    for (std::size_t i = 0; i < descriptors.size(); ++i)
        ::posix_spawn_file_actions_adddup2(&spawn.actions, descriptors[i].get(), kFirstPassedFd + static_cast<int>(i));
    ::posix_spawn_file_actions_addclosefrom_np(&spawn.actions, kFirstPassedFd + static_cast<int>(descriptors.size()));
    ::posix_spawnattr_init(&spawn.attributes);
    sigset_t signals{};
    ::sigemptyset(&signals);
    ::posix_spawnattr_setsigmask(&spawn.attributes, &signals);
    ::sigfillset(&signals);
    ::posix_spawnattr_setsigdefault(&spawn.attributes, &signals);
    // A session of its own: Ctrl-C is for the program, and must not end this one before it.
    ::posix_spawnattr_setflags(&spawn.attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);
}

int run(const std::string& program, std::vector<std::string>& arguments,
        const std::vector<notify::GuardedFd>& descriptors) {
    std::vector<char*> pointers;
    pointers.reserve(arguments.size() + 1);
    for (std::string& argument : arguments) pointers.push_back(argument.data());
    pointers.push_back(nullptr);
    Spawn spawn{.program = program.c_str(), .arguments = pointers.data(), .actions = {}, .attributes = {}, .error = 0};
    prepare(spawn, descriptors);
    const int error = run_helper(spawn);
    ::posix_spawn_file_actions_destroy(&spawn.actions);
    ::posix_spawnattr_destroy(&spawn.attributes);
    return error;
}

}  // namespace

base::Result<std::string> find_program(const HelperProgram& program) {
    std::vector<std::string> places;
    // NOLINTNEXTLINE(concurrency-mt-unsafe): a program that sets it while it connects gets what it deserves
    if (const char* named = ::secure_getenv(program.variable); named != nullptr && *named != '\0') {
        places.emplace_back(named);
    } else {
        const std::string beside = folder_of_program();
        const std::string library = folder_of_library();
        for (const std::string& folder : {beside, library, libexec_beside(beside, VMRPC_BIN_NAME),
                                          libexec_beside(library, VMRPC_LIB_NAME), std::string(VMRPC_LIBEXEC_DIR)})
            if (!folder.empty()) places.push_back(fmt::format("{}/{}", folder, program.name));
    }
    for (const std::string& place : places)
        if (::access(place.c_str(), X_OK) == 0) return place;
    return base::fail(VMRPC_NOT_SUPPORTED,
                      fmt::format("the program {} is not there (looked for: {}): {}; install it, or set {} to its path",
                                  program.name, fmt::join(places, ", "), program.purpose, program.variable));
}

base::Status launch(const std::string& path, std::vector<std::string> arguments, std::span<const int> descriptors) {
    // Copies with high numbers, so that dup2 onto the low ones does not overwrite what is still needed.
    std::vector<notify::GuardedFd> high;
    for (const int descriptor : descriptors) {
        high.push_back(
            notify::GuardedFd::made_by([descriptor] { return ::fcntl(descriptor, F_DUPFD_CLOEXEC, kFirstFreeFd); }));
        if (!high.back().valid())
            return base::fail_errno(fmt::format("cannot start {}: no descriptor left", path), errno);
    }
    arguments.insert(arguments.begin(), path);
    if (const int error = run(path, arguments, high); error != 0)
        return base::fail_errno(fmt::format("cannot start {}", path), error);
    return {};
}

}  // namespace vmrpc::transport::vm
