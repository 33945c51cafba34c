#include "stack/overflow.hpp"

#include "stack/running.hpp"

#include <dlfcn.h>
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <cerrno>
#include <string_view>

namespace vmrpc::stack {
namespace {

/// What the ABIs let code use below its stack pointer.
constexpr std::ptrdiff_t kRedZoneBytes = 128;
constexpr std::size_t kSignalStackBytes = std::size_t{64} * 1024;

struct sigaction previous {};  // written once, before our handler is installed

struct Registers {
    const std::byte* program_counter;
    const std::byte* stack_pointer;
};

Registers registers_of(const void* context) {
    const mcontext_t& machine = static_cast<const ucontext_t*>(context)->uc_mcontext;
#if defined(__x86_64__)
    return {reinterpret_cast<const std::byte*>(machine.gregs[REG_RIP]),
            reinterpret_cast<const std::byte*>(machine.gregs[REG_RSP])};
#elif defined(__aarch64__)
    return {reinterpret_cast<const std::byte*>(machine.pc), reinterpret_cast<const std::byte*>(machine.sp)};
#endif
}

bool is_overflow(const siginfo_t& fault, const Registers& at) {
    if (running == nullptr || fault.si_code <= 0) return false;
    const auto* const touched = static_cast<const std::byte*>(fault.si_addr);
    const Bounds& stack = running->stack;
    return touched >= stack.guard && touched < stack.begin && at.stack_pointer <= stack.begin + kRedZoneBytes;
}

/// Whether two addresses of code belong to the same program or library. For signal handlers.
bool are_of_one_object(const void* one, const void* other) {
    dl_find_object first{};
    dl_find_object second{};
    return ::_dl_find_object(const_cast<void*>(one), &first) == 0 &&
           ::_dl_find_object(const_cast<void*>(other), &second) == 0 && first.dlfo_map_start == second.dlfo_map_start;
}

void pass_on(int signal, siginfo_t* fault, void* context) {
    if ((previous.sa_flags & SA_SIGINFO) != 0) {
        previous.sa_sigaction(signal, fault, context);
    } else if (previous.sa_handler == SIG_DFL || previous.sa_handler == SIG_IGN) {
        // The fault is raised anew when this handler returns; what somebody sent is not.
        ::sigaction(signal, &previous, nullptr);
        if (fault->si_code <= 0) ::raise(signal);
    } else {
        previous.sa_handler(signal);
    }
}

void on_fault(int signal, siginfo_t* fault, void* context) {
    const Registers at = registers_of(context);
    if (is_overflow(*fault, at)) {
        if (are_of_one_object(at.program_counter, running->task.code)) {
            running->has_overflowed = true;
            leave();
        }
        constexpr std::string_view text =
            "vmrpc: code on an RPC stack ran over the stack's end inside of another library, which may hold locks: "
            "this process cannot go on. Use less stack there, or build large objects in the heap.\n";
        [[maybe_unused]] const auto written = ::write(STDERR_FILENO, text.data(), text.size());
    }
    pass_on(signal, fault, context);
}

base::Status install_handler() {
    if (::sigaction(SIGSEGV, nullptr, &previous) != 0) return base::fail_errno("cannot read SIGSEGV's handler", errno);
    struct sigaction ours {};
    ours.sa_sigaction = on_fault;
    // SA_NODEFER: the handler may not return, and must not leave the signal blocked then.
    ours.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    if (::sigaction(SIGSEGV, &ours, nullptr) != 0) return base::fail_errno("cannot handle SIGSEGV", errno);
    return {};
}

/// A thread's alternate signal stack, if it had none.
class SignalStack {
  public:
    SignalStack() = default;
    SignalStack(const SignalStack&) = delete;
    SignalStack& operator=(const SignalStack&) = delete;
    ~SignalStack() {
        if (memory_ == nullptr) return;
        stack_t now{};
        stack_t none{};
        none.ss_flags = SS_DISABLE;
        if (::sigaltstack(nullptr, &now) == 0 && now.ss_sp == memory_) ::sigaltstack(&none, nullptr);
        ::munmap(memory_, kSignalStackBytes);
    }

    base::Status prepare() {
        if (is_ready_) return {};
        stack_t now{};
        if (::sigaltstack(nullptr, &now) != 0) return base::fail_errno("cannot read the signal stack", errno);
        if ((now.ss_flags & SS_DISABLE) != 0) VMRPC_TRY(set());
        is_ready_ = true;
        return {};
    }

  private:
    base::Status set() {
        void* memory = ::mmap(nullptr, kSignalStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED) return base::fail_errno("no memory for a signal stack", errno);
        stack_t stack{};
        stack.ss_sp = memory;
        stack.ss_size = kSignalStackBytes;
        if (::sigaltstack(&stack, nullptr) != 0) {
            ::munmap(memory, kSignalStackBytes);
            return base::fail_errno("cannot set a signal stack", errno);
        }
        memory_ = memory;
        return {};
    }

    void* memory_ = nullptr;
    bool is_ready_ = false;
};

}  // namespace

base::Status prepare_thread() {
    static const base::Status kInstalled = install_handler();
    thread_local SignalStack signal_stack;
    if (!kInstalled) return kInstalled;
    return signal_stack.prepare();
}

}  // namespace vmrpc::stack
