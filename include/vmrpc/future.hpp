// vmrpc, C++: results of calls that were started and not waited for.
#pragma once

#include "vmrpc/stub.hpp"

#include <chrono>
#include <memory>
#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>

namespace vmrpc {
inline namespace v0 {

/// Goes on with a coroutine: what an executor is handed, to call it once, on any thread.
class Resumption {
  public:
    template <class Handle>
    explicit Resumption(Handle handle)
        : address_(handle.address()), resume_([](void* address) { Handle::from_address(address).resume(); }) {}
    void operator()() const { resume_(address_); }

  private:
    void* address_;
    void (*resume_)(void* address);
};

namespace detail {

/// A coroutine goes on on the thread that polls.
struct ResumeHere {
    void operator()(const Resumption& resume) const { resume(); }
};

template <class R, class Executor>
class FutureAwaiter;

/// What a future needs of its connection: only what is returned in the heap needs it, and does not keep it open before.
struct NoConnection {
    NoConnection() = default;
    explicit NoConnection(const ConnectionHold& /*connection*/) {}
    [[nodiscard]] ConnectionHold lock() const { return {}; }
};
template <class R>
inline constexpr bool kIsBlock = Returned<R>::kDescriptor.category == VMRPC_IMPL_BLOCK;

}  // namespace detail

/// The result, yet to come, of a call that Client::async started. Move-only; one thread at a time uses one, and it may
/// be another than the one that started the call. Is waited for once, in one of four ways: get(), then(), co_await, or
/// not at all: destroyed before, the call is given up, and cancelled if it still runs.
/// A future does not keep its connection open. When that is closed on this side its calls end with VMRPC_CLOSED; so do
/// those of the parent in a forked child.
template <class R>
class [[nodiscard]] Future {
  public:
    /// Of no call: get() is VMRPC_BAD_ARGUMENT.
    Future() = default;
    /// For Client.
    Future(const ConnectionHold& connection, const vmrpc_token& token) : connection_(connection), token_(token) {}
    explicit Future(Error error) : error_(std::make_unique<Error>(std::move(error))) {}
    Future(Future&& other) noexcept
        : connection_(std::move(other.connection_)),
          token_(std::exchange(other.token_, {nullptr, 0})),
          error_(std::move(other.error_)) {}
    Future& operator=(Future&& other) noexcept {
        if (this == &other) return *this;
        drop();
        connection_ = std::move(other.connection_);
        token_ = std::exchange(other.token_, {nullptr, 0});
        error_ = std::move(other.error_);
        return *this;
    }
    Future(const Future&) = delete;
    Future& operator=(const Future&) = delete;
    ~Future() { drop(); }

    /// Waits for the result, up to the call's limit, and takes it. Errors: those of Client::call and Client::async;
    /// VMRPC_BAD_ARGUMENT (the second time), VMRPC_CANCELLED, VMRPC_CLOSED.
    Result<R> get() {
        if (error_ != nullptr) [[unlikely]] {
            const std::unique_ptr<Error> taken = std::move(error_);
            return tl::unexpected<Error>(std::move(*taken));
        }
        if constexpr (std::is_void_v<R>) {
            return detail::to_result(vmrpc_impl_wait(&token_, nullptr, nullptr));
        } else {
            // Held from before the block is taken: nobody can close the connection in between.
            const ConnectionHold connection = connection_.lock();
            typename detail::Returned<R>::Raw raw;
            if (vmrpc_impl_wait(&token_, nullptr, &raw) != VMRPC_OK) return detail::last_error();
            return detail::Returned<R>::take(raw, connection);
        }
    }

    /// Whether get() would return at once, be it with an error. Does not block.
    [[nodiscard]] bool ready() const { return vmrpc_impl_is_ready(&token_) != 0; }
    /// Waits until it is ready, for `limit` at most; the call goes on. Returns whether it is.
    [[nodiscard]] bool wait_for(std::chrono::nanoseconds limit) const {
        return ready() || vmrpc_impl_wait_ready(&token_, limit.count()) != VMRPC_TIMED_OUT;
    }

    /// Asks the server to cancel the call, and does not wait. One that has not begun ends with VMRPC_CANCELLED; a
    /// function that runs can ask whether it is to end. get() returns how it ended, its result too. On another thread
    /// than the one that started the call the request is passed on when that thread starts or posts a call or polls.
    /// Errors: VMRPC_BAD_ARGUMENT (nothing is in flight), VMRPC_CLOSED.
    Result<void> cancel() { return detail::to_result(vmrpc_impl_cancel(&token_)); }

    /// Has `use` called with the Result<R>, once, by the thread in Client::poll(), or by the one that closes the
    /// connection. The future is empty then. Where it cannot be on its way any more `use` is called at once, here.
    template <class Use>
    void then(Use&& use) && {
        struct Waiting {
            Future future;
            std::decay_t<Use> use;
        };
        auto waiting = std::make_unique<Waiting>(Waiting{std::move(*this), std::forward<Use>(use)});
        const auto go_on = [](void* context) {
            const std::unique_ptr<Waiting> own(static_cast<Waiting*>(context));
            own->use(own->future.get());
        };
        const vmrpc_token token = waiting->future.token_;
        if (token.call == nullptr || vmrpc_impl_then(&token, go_on, waiting.get()) != VMRPC_OK)
            go_on(waiting.release());
        else
            std::ignore = waiting.release();
    }

    /// What co_await takes: the coroutine goes on in executor(Resumption), which is called on the polling thread, and
    /// must not destroy the coroutine itself. `executor` is any callable; it is copied.
    template <class Executor>
    auto resume_on(Executor executor) && {
        return detail::FutureAwaiter<R, Executor>(std::move(*this), std::move(executor));
    }
    /// `Result<R> result = co_await client.async<f>(…)`: goes on within Client::poll(), on its thread, or at once if
    /// the answer is there already. A coroutine that is destroyed while it waits gives the call up; not while another
    /// thread polls.
    auto operator co_await() && { return std::move(*this).resume_on(detail::ResumeHere()); }

    /// For the C API.
    [[nodiscard]] const vmrpc_token& token() const { return token_; }

  private:
    void drop() {
        if (token_.call != nullptr) vmrpc_impl_drop(&token_);
    }

    [[no_unique_address]] std::conditional_t<detail::kIsBlock<R>, std::weak_ptr<vmrpc_connection>, detail::NoConnection>
        connection_;
    vmrpc_token token_{nullptr, 0};
    std::unique_ptr<Error> error_;  // why the call was not started
};

namespace detail {

template <class R, class Executor>
class FutureAwaiter {
  public:
    FutureAwaiter(Future<R> future, Executor executor) : future_(std::move(future)), executor_(std::move(executor)) {}

    [[nodiscard]] bool await_ready() const { return future_.ready(); }
    template <class Handle>
    bool await_suspend(Handle handle) {
        resumption_.emplace(handle);
        const auto go_on = [](void* context) {
            auto& self = *static_cast<FutureAwaiter*>(context);
            // Copies: the coroutine may go on, and end this object with it, before the executor has returned.
            const Resumption resume = *self.resumption_;
            Executor executor = self.executor_;
            executor(resume);
        };
        // From here on another thread may have gone on with the coroutine.
        const vmrpc_token token = future_.token();
        return vmrpc_impl_then(&token, go_on, this) == VMRPC_OK;
    }
    Result<R> await_resume() { return future_.get(); }

  private:
    Future<R> future_;
    Executor executor_;
    std::optional<Resumption> resumption_;
};

}  // namespace detail
}  // namespace v0
}  // namespace vmrpc
