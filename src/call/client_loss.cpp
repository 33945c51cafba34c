// How a client learns that its connection is over, and why.
#include "base/log.hpp"
#include "call/client_connection.hpp"

#include <fmt/format.h>

#include <array>
#include <cstring>
#include <string_view>
#include <utility>

namespace vmrpc::call {

void ClientConnection::Events::lost() {
    const std::scoped_lock lock(mutex);
    was_lost = true;
    if (connection != nullptr) connection->server_lost();
}

void ClientConnection::Events::attach(ClientConnection& to) {
    const std::scoped_lock lock(mutex);
    connection = &to;
    if (was_lost) to.server_lost();
}

/// What the server said when it ended the connection, if it did.
base::Error ClientConnection::reason_of_loss() const {
    // acquire: pairs with the server's release after status and text
    const auto state = control().server.state.load_acquire();
    std::uint32_t status = VMRPC_PEER_LOST;
    if (state == static_cast<std::uint32_t>(layout::RegionState::kPoisoned)) status = VMRPC_POISONED;
    if (state == static_cast<std::uint32_t>(layout::RegionState::kClosed))
        status = control().server.status.load_relaxed();
    if (status == VMRPC_OK || status == VMRPC_PEER_LOST || status > kLastStatus)
        return {VMRPC_PEER_LOST, "the server has died or closed the connection: connect again"};
    std::array<char, layout::kErrorTextBytes> text{};
    layout::copy_from_peer(text.data(), control().server_text.data(), text.size());
    return {static_cast<vmrpc_status>(status),
            fmt::format("the server ended the connection: {}",
                        std::string_view(text.data(), ::strnlen(text.data(), text.size())))};
}

void ClientConnection::server_lost() {
    base::Error reason = reason_of_loss();
    server_is_gone_.store(true, std::memory_order_release);
    end(std::move(reason));
    waiters_.interrupt();
}

void ClientConnection::on_violation(base::Error error) {
    base::log().warn("server broke the protocol: {}", error.text);
    end(std::move(error));
    waiters_.interrupt();
}

}  // namespace vmrpc::call
