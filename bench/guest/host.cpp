#include "guest/host.hpp"

#include "guest.hpp"
#include "guest/answerers.hpp"
#include "guest/floor.hpp"
#include "guest/messages.hpp"
#include "support/interrupt.hpp"
#include "support/scratch_folder.hpp"

#include <fmt/format.h>

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <stdexcept>
#include <system_error>

namespace vmrpc::bench {
namespace {

using std::chrono_literals::operator""ms;

vm::GuestOptions guest_options(const std::string& server_socket, const std::string& port_socket,
                               const Answerers& answerers, std::int64_t until_ns) {
    const std::string self = std::filesystem::read_symlink("/proc/self/exe");
    vm::GuestOptions options;
    options.commands = {{{self, "client", std::to_string(answerers.tcp_port())}}};
    options.files = {{VMRPC_BENCH_SENTINEL, "/vmrpc-sentinel"}};
    options.environment = {"VMRPC_SENTINEL=/vmrpc-sentinel"};
    options.network = true;
    options.doorbells = {{server_socket, 2}};
    options.memories = {{fmt::format("/proc/{}/fd/{}", ::getpid(), answerers.floor_memory()), kFloorBytes}};
    options.ports = {{kPortName, fmt::format("socket,path={}", port_socket)}};
    options.limit =
        std::chrono::milliseconds(std::max<std::int64_t>(1, (until_ns - base::now_ns()) / 1'000'000)) + 5'000ms;
    return options;
}

base::Fd listen_at(const std::string& path) {
    base::Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
        ::listen(socket.get(), 1) != 0)
        throw std::system_error(errno, std::generic_category(), "cannot listen for QEMU at " + path);
    return socket;
}

/// A running guest that takes orders.
class Worker {
  public:
    Worker(const std::string& port_socket, const std::function<vm::GuestOptions()>& options, std::int64_t until_ns)
        : until_ns_(until_ns), listening_(listen_at(port_socket)), guest_(options()) {
        while (!port_.valid()) {
            if (guest_.wait_for(20ms)) ended();
            port_.reset(::accept4(listening_.get(), nullptr, nullptr, SOCK_CLOEXEC));
        }
        receive();  // it is ready
    }
    Figures measure(const Order& order) {
        if (::send(port_.get(), &order, sizeof order, MSG_NOSIGNAL) != static_cast<ssize_t>(sizeof order)) ended();
        const Answer answer = receive();
        if (!answer.measured) throw std::runtime_error(fmt::format("in the guest: {}", answer.why.data()));
        return answer.figures;
    }
    [[nodiscard]] std::string accelerator() const { return guest_.accelerator(); }

  private:
    Answer receive() {
        Answer answer;
        auto* to = reinterpret_cast<char*>(&answer);
        for (std::size_t got = 0; got < sizeof answer;) {
            wait_readable(port_.get(), until_ns_);
            const ssize_t bytes = ::read(port_.get(), to + got, sizeof answer - got);
            if (bytes <= 0) ended();
            got += static_cast<std::size_t>(bytes);
        }
        return answer;
    }
    [[noreturn]] void ended() {
        const auto result = guest_.wait();
        throw std::runtime_error(
            fmt::format("the guest has ended: {} {}\n{}", to_string(result.outcome), result.message, guest_.output()));
    }

    std::int64_t until_ns_;
    base::Fd listening_;
    base::Fd port_;
    vm::Guest guest_;
};

}  // namespace

GuestRounds run_guest_rounds(const CpuPair& cpus, double scale, int rounds, std::int64_t until_ns) {
    ::setenv("VMRPC_SENTINEL", VMRPC_BENCH_SENTINEL, 0);
    ScratchFolder folder;
    GuestRounds result;
    RoundsResult& measured = result.measured;
    const auto workloads = guest_workloads(scale);
    for (const GuestWorkload& workload : workloads)
        measured.rows.push_back({.name = workload.name, .what = workload.what});
    try {
        const std::string server_socket = folder.fresh();
        const std::string port_socket = folder.fresh();
        const Answerers answerers(cpus.server, "ivshmem:" + server_socket, until_ns);
        answerers.let_run(Answerer::kServer);  // QEMU takes its memory
        pin_to(cpus.caller);
        Worker worker(
            port_socket, [&] { return guest_options(server_socket, port_socket, answerers, until_ns); }, until_ns);
        result.accelerator = worker.accelerator();
        result.emulated = !result.accelerator.starts_with("KVM");
        for (; measured.complete < rounds; ++measured.complete) {
            for (std::size_t i = 0; i < workloads.size(); ++i) {
                const std::size_t index = measured.complete % 2 == 0 ? i : workloads.size() - 1 - i;
                answerers.let_run(workloads[index].answerer);
                measured.rows[index].rounds.push_back(worker.measure({static_cast<std::uint32_t>(index), scale}));
            }
        }
    } catch (const std::exception& exception) {
        measured.stopped_by = exception.what();
    }
    return result;
}

}  // namespace vmrpc::bench
