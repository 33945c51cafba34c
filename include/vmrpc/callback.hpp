// vmrpc, C++: callables as arguments.
#pragma once

#include "vmrpc/stub.hpp"

#include <chrono>
#include <concepts>
#include <cstdint>
#include <functional>
#include <memory>
#include <stdexcept>
#include <type_traits>
#include <utility>

namespace vmrpc {
inline namespace v0 {

template <class Signature>
class Callback;

namespace detail {

/// What the client serves for all callbacks of one signature: the first argument says which.
template <class Signature>
struct CallbackFunction;
template <class R, class... A>
struct CallbackFunction<R(A...)> {
    using NamedFunction = Named<"vmrpc::Callback", R(std::uint64_t, A...)>;
};

/// A lent object in use, in the client's function.
template <class T>
class LentUse {
  public:
    explicit LentUse(std::uint64_t number) : number_(number), object_(vmrpc_impl_use_lent(number)) {
        if (object_ == nullptr)
            throw std::runtime_error("the callable is not lent any more: the call that it was an argument of is over");
    }
    LentUse(const LentUse&) = delete;
    LentUse& operator=(const LentUse&) = delete;
    ~LentUse() { vmrpc_impl_done_with(number_); }
    T& operator*() const { return *static_cast<T*>(object_); }

  private:
    std::uint64_t number_;
    void* object_;
};

}  // namespace detail

/// A parameter of a function: something that its caller can be asked to do while the call runs.
///     void scan(std::span<const double> values, vmrpc::Callback<bool(std::uint64_t index, double value)> on_match);
/// The client passes any callable of that signature: it is not copied, and runs on the thread that waits for the call.
/// The server calls it as a function; it is good for as long as the call that it came with, on the thread that serves
/// it: later the client's answer is VMRPC_FUNCTION_FAILED. For calls that are waited for: not for async() and post().
template <class R, class... A>
class Callback<R(A...)> {
  public:
    /// In the client; `callable` must live until the call has returned.
    // NOLINTBEGIN(google-explicit-constructor,bugprone-forwarding-reference-overload): what a caller writes
    template <class Callable>
    requires(!std::same_as<std::remove_cvref_t<Callable>, Callback> && std::is_invocable_r_v<R, Callable&, A...>)
        Callback(Callable&& callable)
        : object_(const_cast<void*>(static_cast<const void*>(std::addressof(callable)))),
          invoke_([](void* object, A... arguments) -> R {
              return std::invoke(*static_cast<std::remove_reference_t<Callable>*>(object),
                                 static_cast<A>(arguments)...);
          }) {}
    // NOLINTEND(google-explicit-constructor,bugprone-forwarding-reference-overload)

    /// In the server: calls it. Errors: those of Caller::call(); VMRPC_FUNCTION_FAILED if it threw.
    Result<R> operator()(A... arguments) const { return call(nullptr, static_cast<A>(arguments)...); }
    /// The same with a time limit; above 0.
    Result<R> within(std::chrono::nanoseconds limit, A... arguments) const {
        const vmrpc_call_options options{.struct_bytes = sizeof options, .limit_ns = limit.count()};
        return call(&options, static_cast<A>(arguments)...);
    }

  private:
    friend struct detail::Parameter<Callback>;
    using Stub = detail::Stub<typename detail::CallbackFunction<R(A...)>::NamedFunction>;
    /// What the client's function does: finds the callable, and calls it.
    struct Dispatch {
        R operator()(std::uint64_t number, A... arguments) const {
            const detail::LentUse<const Callback> callback(number);
            return (*callback).invoke_((*callback).object_, static_cast<A>(arguments)...);
        }
    };

    explicit Callback(std::uint64_t number) : number_(number) {}
    Result<R> call(const vmrpc_call_options* options, A... arguments) const {
        const vmrpc_caller* const caller = VMRPC_CALLER();
        vmrpc_connection* const connection = caller == nullptr ? nullptr : caller->connection;
        return Stub::call(ConnectionHold(ConnectionHold{}, connection), options, number_, static_cast<A>(arguments)...);
    }

    void* object_ = nullptr;  // the client's
    R (*invoke_)(void* object, A... arguments) = nullptr;
    std::uint64_t number_ = 0;  // the server's
};

namespace detail {

template <class Signature>
inline constexpr bool kIsLent<Callback<Signature>> = true;

template <class R, class... A>
struct Parameter<Callback<R(A...)>> {
    using Given = Callback<R(A...)>;
    static constexpr auto kDescriptor = describe<std::uint64_t>(VMRPC_IMPL_VALUE);
    /// Lends the callable for as long as it lives.
    struct Packed {
        vmrpc_connection* connection;
        std::uint64_t number = 0;
        std::unique_ptr<Given> callback;
        Packed(vmrpc_connection* to, const Given& given) : connection(to), callback(std::make_unique<Given>(given)) {
            static typename Given::Dispatch dispatch;
            // If it fails, so does the call, which says why.
            vmrpc_impl_lend(
                connection, &Given::Stub::declaration(),
                [](void* /*user*/, void* const* entries, void* result, char* text, std::size_t bytes) {
                    return Given::Stub::template dispatch<typename Given::Dispatch>(&dispatch, entries, result, text,
                                                                                    bytes);
                },
                callback.get(), &number);
        }
        Packed(Packed&& other) noexcept
            : connection(other.connection),
              number(std::exchange(other.number, 0)),
              callback(std::move(other.callback)) {}
        Packed(const Packed&) = delete;
        Packed& operator=(const Packed&) = delete;
        ~Packed() { vmrpc_impl_take_back(connection, number); }
        void* entry() { return &number; }
    };
    static Given unpack(void* entry) { return Given(*static_cast<std::uint64_t*>(entry)); }
};

}  // namespace detail
}  // namespace v0
}  // namespace vmrpc
