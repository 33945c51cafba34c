#include "guest_demo.hpp"

#include "failure.hpp"
#include "guest_console.hpp"
#include "guest_plan.hpp"
#include "json_file.hpp"
#include "qemu_command.hpp"
#include "server_process.hpp"

#include <fstream>
#include <iterator>
#include <regex>

namespace demo {
namespace {

namespace vm = vmrpc::vm;

constexpr std::chrono::seconds kBootLimit{120};

/// A guest that ends before a signal ends this process.
class GuestOfServer {
  public:
    GuestOfServer(ServerProcess& server, vm::GuestOptions options) : server_(server), guest_(std::move(options)) {
        server_.on_signal([this] {
            guest_.kill();
            guest_.wait();
        });
    }
    GuestOfServer(const GuestOfServer&) = delete;
    GuestOfServer& operator=(const GuestOfServer&) = delete;
    ~GuestOfServer() { server_.on_signal({}); }
    vm::Guest& guest() { return guest_; }

  private:
    ServerProcess& server_;
    vm::Guest guest_;
};

/// The client's first line is taken for the end of the boot.
vm::GuestResult wait_for_end(vm::Guest& guest) {
    if (!guest.wait_for_line(std::regex("^vmrpc-demo"), kBootLimit) && !guest.wait_for(std::chrono::seconds(0))) {
        guest.kill();
        throw Failure(fmt::format("the guest did not boot within {} s: is the machine overloaded? Its last words:\n{}",
                                  kBootLimit.count(), guest.output()));
    }
    return guest.wait();
}

/// What QEMU or the kernel said may end with a line's end.
std::string trimmed(const std::string& text) {
    return text.substr(0, text.find_last_not_of(" \r\n") + 1);
}

/// Whether the client was content.
bool judge(const vm::GuestResult& result) {
    if (result.outcome != vm::Outcome::kExited)
        throw Failure(
            fmt::format("no result from the guest ({}): {}", vm::to_string(result.outcome), trimmed(result.message)));
    if (const int signal = result.statuses.empty() ? 0 : result.statuses.front().signal; signal != 0)
        throw Failure(fmt::format("the client in the guest was ended by signal {}", signal));
    return result.status == 0;
}

std::string content_of(const std::string& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
}

double seconds(std::chrono::milliseconds time) {
    return std::chrono::duration<double>(time).count();
}

void print_end(const vm::GuestResult& result, bool kvm) {
    fmt::print("The guest had booted after {:.1f} s and ended after {:.1f} s.{}\n", seconds(result.boot_time),
               seconds(result.total_time),
               kvm ? "" : "\nIt was emulated: compare its rows with each other, not with other tables.");
}

}  // namespace

bool run_in_guest(const ClientOptions& client, const GuestLimits& limits) {
    check_guest(client);
    JsonFile json(client.json_path);
    const vm::AcceleratorChoice machine = vm::choose_accelerator(vm::Accelerator::kBest);
    ServerProcess server(ServerProcess::Clients::kInGuest);
    GuestConsole console;
    console.show_step(fmt::format("booting a guest, run by {} …", machine.reason));
    vm::GuestOptions options = plan_guest(client, limits, server, machine.reason);
    options.on_line = [&console](std::string_view line) { console.take(line); };
    GuestOfServer owned(server, std::move(options));
    const vm::GuestResult result = wait_for_end(owned.guest());
    console.finish();
    const bool content = judge(result);
    if (content) json.write(content_of(json_path(server)));
    print_end(result, machine.kvm);
    return content;
}

}  // namespace demo
