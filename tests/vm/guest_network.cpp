#include "guest_network.hpp"

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace vmrpc::vm {
namespace {

ifreq request_for(const char* interface) {
    ifreq request{};
    std::strncpy(request.ifr_name, interface, sizeof request.ifr_name - 1);
    return request;
}

bool set_address(int socket, unsigned long what, const char* interface, const std::string& text) {
    auto request = request_for(interface);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    if (inet_pton(AF_INET, text.c_str(), &address.sin_addr) != 1) return false;
    std::memcpy(&request.ifr_addr, &address, sizeof address);
    return ioctl(socket, what, &request) == 0;
}

bool bring_up(int socket, const char* interface) {
    auto request = request_for(interface);
    if (ioctl(socket, SIOCGIFFLAGS, &request) != 0) return false;
    request.ifr_flags = static_cast<short>(request.ifr_flags | IFF_UP | IFF_RUNNING);
    return ioctl(socket, SIOCSIFFLAGS, &request) == 0;
}

bool configure(int socket, const std::string& address) {
    if (!bring_up(socket, "lo")) return false;
    if (address.empty()) return true;
    return set_address(socket, SIOCSIFADDR, "eth0", address) &&
           set_address(socket, SIOCSIFNETMASK, "eth0", "255.255.255.0") && bring_up(socket, "eth0");
}

}  // namespace

std::string start_network(const std::string& address) {
    const int any = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (any < 0) return std::string{"no network: "} + std::strerror(errno);
    const bool ok = configure(any, address);
    const int error = errno;
    close(any);
    return ok ? "" : std::string{"cannot configure lo and eth0: "} + std::strerror(error);
}

}  // namespace vmrpc::vm
