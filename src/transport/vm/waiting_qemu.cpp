#include "transport/vm/waiting_qemu.hpp"

#include "base/log.hpp"
#include "transport/socket.hpp"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace vmrpc::transport::vm {

notify::GuardedFd connect_to_waiting_qemu(const std::string& path) {
    const auto address = socket_address("vm", path);
    if (!address || ::access(path.c_str(), F_OK) != 0) return {};
    auto socket = make_socket(SOCK_STREAM);
    if (!socket) return {};  // it goes on waiting: at the next look
    if (::connect(socket->get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address) != 0) {
        const int why = errno;
        if (why != ECONNREFUSED && why != ENOENT && why != EAGAIN)  // QEMU is just binding it, or has died
            base::log().warn("{}: cannot connect to the QEMU that waits there: {}", path,
                             std::generic_category().message(why));
        return {};
    }
    if (::unlink(path.c_str()) != 0)
        base::log().warn("{}: cannot be removed, as it should before another service starts: {}", path,
                         std::generic_category().message(errno));
    return std::move(*socket);
}

}  // namespace vmrpc::transport::vm
