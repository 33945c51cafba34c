// The server's side of one hand-shake, driven by the housekeeper.
#pragma once

#include "notify/housekeeper.hpp"
#include "transport/local/protocol.hpp"
#include "transport/local/server_link.hpp"
#include "transport/local/socket.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace vmrpc::transport::local {

/// What the server gives at most, and what it is called in messages.
struct ServerTerms {
    std::string name;  // "local:PATH"
    Wishes most;
    std::uint32_t max_connections = 0;
};

/// Waits for Hello, answers, waits for Mapped, answers. Whatever the client sends, the worst is that it is let go.
/// Housekeeping thread only. Never blocks.
class Handshake {
  public:
    enum class Progress { kWaiting, kDone, kFailed };

    Handshake(notify::GuardedFd socket, const ServerTerms& terms, std::shared_ptr<EventSink> sink,
              std::uint32_t connection);

    [[nodiscard]] int socket() const { return parts_.socket.get(); }
    /// Reads what has come. kFailed: the reason has been logged, and told to the client where that is possible.
    Progress advance();
    /// The connection. Requires kDone.
    std::unique_ptr<LocalServerLink> take_link() { return std::move(link_); }
    /// "pid 12, uid 1000", for messages.
    [[nodiscard]] const std::string& client() const { return client_; }

    /// Of the owner: calls on_readable() whenever the socket is ready, and on_time_limit() once. Errors:
    /// VMRPC_OUT_OF_RESOURCES.
    base::Status watch(std::function<void()> on_readable, std::int64_t limit_ns, std::function<void()> on_time_limit);

  private:
    Progress on_hello(const Hello& hello, const Received& received);
    Progress on_mapped(const Mapped& mapped, const Received& received);
    base::Result<Offer> prepare(const Hello& hello);
    base::Status map_segment(const Hello& hello, std::uint64_t bytes, vmrpc_huge_pages pages);
    void format(std::uint64_t client_address);
    Progress refuse(const base::Error& error);
    Progress let_go(const std::string& why);

    const ServerTerms& terms_;
    ServerLinkParts parts_;  // grows step by step
    std::string client_;
    layout::Uuid uuid_{};
    bool offered_ = false;
    bool equal_addresses_ = false;  // both sides wish them
    std::int32_t client_only_cpu_ = -1;
    std::unique_ptr<LocalServerLink> link_;
    // Last, so that they end before the socket is closed: its number may be another thread's at once.
    notify::Watch readable_;
    notify::Watch time_limit_;
};

/// What a client that sent this Hello gets. Never less than one lane and two arenas of layout::kMinArenaBytes.
/// RPC stacks in huge pages of the pool have frames only.
layout::RegionSizes sizes_for(const Hello& hello, const Wishes& most, vmrpc_huge_pages pages);

/// What its memory is made of. Errors: VMRPC_NOT_PERMITTED, if the choice is the server's and it has chosen otherwise.
base::Result<vmrpc_huge_pages> huge_pages_for(const Hello& hello, const Wishes& most);

}  // namespace vmrpc::transport::local
