#include "server.hpp"

#include "notify/fork_guard.hpp"

#include <fmt/format.h>

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace vmrpc {
namespace {

const base::Error kServerClosed{VMRPC_PEER_LOST, "the server was closed"};

/// Says at the end of its life that the server is served no more.
class Running {
  public:
    explicit Running(std::atomic<bool>& running) : running_(running) {}
    Running(const Running&) = delete;
    Running& operator=(const Running&) = delete;
    ~Running() { running_.store(false, std::memory_order_release); }

  private:
    std::atomic<bool>& running_;
};

}  // namespace

base::Result<std::unique_ptr<ServerLoop>> ServerLoop::listen(const ServeOptions& options) {
    std::unique_ptr<ServerLoop> server(new ServerLoop(options));
    VMRPC_TRY(server->open());
    return server;
}

ServerLoop::ServerLoop(const ServeOptions& options)
    : options_(options),
      started_ns_(base::now_ns()),
      process_generation_(notify::process_generation()),
      serving_(std::make_shared<call::ServingThread>(functions_)),
      spin_(options.spin_ns),
      frame_(std::make_unique<call::ServerFrame>()) {
    if (options.workers != 0)
        pool_ = std::make_unique<call::WorkerPool>(
            call::WorkerPool::Options{.workers = options.workers, .most_of_a_client = options.max_client_calls},
            [this] { wake(); });
}

base::Status ServerLoop::open() {
    epoll_.reset(::epoll_create1(EPOLL_CLOEXEC));
    wake_.reset(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
    if (!epoll_.valid() || !wake_.valid()) return base::fail_errno("cannot make the server's descriptors", errno);
    epoll_event event{.events = EPOLLIN | EPOLLET, .data = {.ptr = nullptr}};
    if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, wake_.get(), &event) != 0)
        return base::fail_errno("cannot watch the server's descriptors", errno);
    auto listener = transport::listen(
        {.address = options_.address, .most = options_.most, .max_connections = options_.max_connections}, *this);
    VMRPC_TRY(listener);
    listener_ = *std::move(listener);
    functions_.add_report(serve_report, this);
    return {};
}

std::string ServerLoop::report() const {
    const std::uint64_t turns = turns_.value();
    const std::uint64_t busy = std::min(turns, busy_turns_.value());  // some came since
    return roster_.report({options_.address, started_ns_, sleeps_.value(), turns - busy}, functions_);
}

ServerLoop::~ServerLoop() {
    if (!is_ours()) {
        // Made by the parent of this process: the memory is not mapped here, and the workers are the parent's.
        for (auto& [link, connection] : connections_) std::ignore = connection.release();
        std::ignore = listener_.release();
        std::ignore = pool_.release();
        return;
    }
    serving_->end();
    listener_.reset();  // from here on no news
    take_news();
    pool_.reset();  // waits for what runs
    for (Connection* connection : leaving_) bury(*connection);
    while (!connections_.empty()) dismiss(*connections_.begin()->second, &kServerClosed);
}

bool ServerLoop::is_ours() const {
    return process_generation_ == notify::process_generation();
}

bool ServerLoop::is_serving_here() const {
    const auto* const connection = Connection::current();
    return connection != nullptr && pool_ != nullptr && connection->pool() == pool_.get();
}

base::Status ServerLoop::add(const call::FunctionTable::Entry& entry, const call::Execution& execution) {
    if (is_running() || is_polled_.load(std::memory_order_relaxed))
        return base::fail(
            VMRPC_BAD_ARGUMENT,
            fmt::format("{} cannot be added while the server runs: add functions before", entry.function->name()));
    if (execution.is_pooled && options_.workers == 0)
        return base::fail(VMRPC_BAD_ARGUMENT,
                          fmt::format("{} is to run on a worker, and the server has none: set the server's option "
                                      "workers",
                                      entry.function->name()));
    if (!execution.is_pooled && (execution.is_ordered || execution.most_running != 0))
        return base::fail(VMRPC_BAD_ARGUMENT,
                          fmt::format("{} is ordered, or limited, but not pooled: the serving thread runs one call at "
                                      "a time anyway; set pooled, or neither",
                                      entry.function->name()));
    return functions_.add(entry, execution);
}

/// Of run() and poll(): takes running_.
base::Status ServerLoop::begin() {
    if (!is_ours()) return base::fail(VMRPC_CLOSED, "the server belongs to the process that forked this one");
    if (running_.exchange(true, std::memory_order_acq_rel))
        return base::fail(VMRPC_BAD_ARGUMENT, "the server is running already: one thread serves it");
    serving_->begin();  // until the end of serving: between two poll() too this thread is who serves
    return {};
}

base::Status ServerLoop::run() {
    VMRPC_TRY(begin());
    const Running mark(running_);
    if (pool_ != nullptr) VMRPC_TRY(pool_->start());
    serve();
    drain();
    return {};
}

base::Result<std::uint64_t> ServerLoop::poll() {
    VMRPC_TRY(begin());
    const Running mark(running_);
    if (!is_polled_.exchange(true, std::memory_order_relaxed)) {
        if (pool_ != nullptr) VMRPC_TRY(pool_->start());
        note_cpu();
    }
    if (stops() != 0 && !is_draining_) begin_draining();
    const std::uint64_t before = taken_;
    look_at_rings(0);  // what has rung is polled, and the descriptor is quiet again
    round();
    while (taken_ == before && !arm_all()) round();
    // Once more: the wake-up of a stop() that came since may have been taken above, by who looks at the rings.
    if (stops() != 0 && !is_draining_) begin_draining();
    if (is_draining_ && is_drained()) {
        end_serving();
        return base::fail(VMRPC_SHUTTING_DOWN, "the server was stopped, and has answered what it had taken");
    }
    return taken_ - before;
}

void ServerLoop::begin_draining() {
    is_draining_ = true;
    drain_limit_ = base::Deadline::in(options_.drain_limit_ns);
}

void ServerLoop::drain() {
    begin_draining();
    for (;;) {
        look_at_rings(0);
        round();
        if (is_drained()) break;
        // What came meanwhile has rung, or is seen here.
        if (arm_all()) look_at_rings(drain_limit_.remaining_ms());
    }
    end_serving();
}

/// Whether nothing that was taken is unanswered, or its time is over. If not, the end of it will wake the server.
bool ServerLoop::is_drained() {
    return pool_ == nullptr || pool_->is_idle() || stops() > 1 || options_.drain_limit_ns < 0 || drain_limit_.passed();
}

void ServerLoop::end_serving() {
    if (pool_ != nullptr) pool_->end_all();
    round();  // those that came last
    serving_->end();
    is_draining_ = false;
    is_polled_.store(false, std::memory_order_relaxed);
    stops_.store(0, std::memory_order_relaxed);
}

void ServerLoop::stop() noexcept {
    stops_.fetch_add(1, std::memory_order_release);
    constexpr std::uint64_t kOne = 1;
    [[maybe_unused]] const auto written = ::write(wake_.get(), &kOne, sizeof kOne);
}

}  // namespace vmrpc
