// What a connection costs while nothing is called: processor time of the client in the guest and of its server.
#pragma once

#include "support/stats.hpp"

#include <chrono>
#include <string>

namespace vmrpc::bench {

/// Of one CPU.
struct IdleCpu {
    double guest_percent = kUnknown;
    double host_percent = kUnknown;
};

/// In the guest. The client waits, asleep, for a call that the server holds for so long. Throws std::runtime_error.
IdleCpu waiting_for_reply(const std::string& address, std::chrono::milliseconds held);
/// The client does nothing with its connection.
IdleCpu without_calls(const std::string& address, std::chrono::milliseconds duration);

}  // namespace vmrpc::bench
