// One guest from start to end: the thread that starts QEMU, reads what it says, ends it in time and judges how it
// ended.
#pragma once

#include "guest.hpp"
#include "line_log.hpp"
#include "qemu_command.hpp"
#include "qemu_process.hpp"
#include "qmp.hpp"

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

namespace vmrpc::vm {

class Guest::Run {
  public:
    explicit Run(GuestOptions options);  // returns when QEMU runs or has failed to
    ~Run();

    std::optional<GuestResult> wait_until(std::optional<std::chrono::steady_clock::time_point> deadline);
    void kill();
    LineLog& console() { return console_; }
    QmpReply qmp(const std::string& command, const std::string& arguments, std::chrono::milliseconds limit);
    pid_t qemu_pid() const { return process_.pid; }
    std::string accelerator() const { return accelerator_.reason; }

  private:
    using Clock = std::chrono::steady_clock;

    void run();
    bool start();  // false: result_ says why not
    void pump_until_exit();
    void drain();
    void take_report(std::string_view line);
    void begin_boot();
    void judge();
    void judge_exit_code(int code);
    void set(Outcome outcome, std::string message);
    std::string last_line() const;
    void publish(bool ended);
    std::chrono::milliseconds elapsed() const;

    const GuestOptions options_;
    const Clock::time_point begin_ = Clock::now();
    AcceleratorChoice accelerator_;
    LineLog console_;
    LineLog errors_;
    LineLog report_;
    QemuProcess process_;
    std::unique_ptr<Qmp> qmp_;  // from start() on, if QEMU runs
    bool timed_out_ = false;
    bool orderly_ = false;  // guest_init said that it had finished

    std::mutex mutex_;  // for what follows
    std::condition_variable changed_;
    bool started_ = false;
    bool ended_ = false;
    bool kill_asked_ = false;
    GuestResult result_;  // of the thread alone until ended_

    std::thread thread_;  // last: it uses all the others
};

}  // namespace vmrpc::vm
