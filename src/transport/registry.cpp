// Which scheme is which transport.
#include "transport/local/local.hpp"
#include "transport/transport.hpp"
#include "transport/vm/transports.hpp"

#include <fmt/format.h>

#include <sys/resource.h>

#include <array>
#include <string>

namespace vmrpc::transport {
namespace {

struct Entry {
    std::string_view scheme;
    base::Result<std::unique_ptr<Listener>> (*listen)(const ListenRequest&, ListenerEvents&);
    base::Result<std::unique_ptr<ClientLink>> (*connect)(const ConnectRequest&, ClientEvents&);
};

template <Transport T>
constexpr Entry entry_of() {
    return {T::kScheme, &T::listen, &T::connect};
}

// A new transport is one line here.
constexpr std::array kTransports{
    entry_of<local::Local>(),
    entry_of<vm::VmTransport>(),
    entry_of<vm::Ivshmem>(),
};

// Finds the transport, and leaves in `address` what is behind its scheme.
base::Result<const Entry*> split(std::string& address) {
    const std::size_t colon = address.find(':');
    for (const Entry& entry : kTransports) {
        if (colon == std::string::npos || std::string_view(address).substr(0, colon) != entry.scheme) continue;
        address.erase(0, colon + 1);
        return &entry;
    }
    std::string known;
    for (const Entry& entry : kTransports) known += fmt::format("{}{}:", known.empty() ? "" : ", ", entry.scheme);
    return base::fail(VMRPC_BAD_ADDRESS,
                      fmt::format("\"{}\" is not an address: it must begin with one of: {}", address, known));
}

// A client costs its server four descriptors, and the usual limit is 1,024: it is that low for programs that use
// select(), while any process may raise it as far as the hard one.
void raise_descriptor_limit() {
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= limit.rlim_max) return;
    limit.rlim_cur = limit.rlim_max;
    // What fails leaves the limit as it is, and says so when it is reached.
    static_cast<void>(::setrlimit(RLIMIT_NOFILE, &limit));
}

}  // namespace

base::Result<std::shared_ptr<const AddedSegment>> Link::add_segment(const SegmentWish& /*wish*/) {
    return base::fail(
        VMRPC_NOT_SUPPORTED,
        "a heap in a segment of its own is not supported here, because all that a VM and its host share is "
        "the memory of one device: set `within`, for a heap inside this side's half of the connection's");
}

base::Result<std::unique_ptr<Listener>> listen(ListenRequest request, ListenerEvents& events) {
    const auto transport = split(request.address);
    if (!transport) return tl::unexpected(transport.error());
    raise_descriptor_limit();
    return (*transport)->listen(request, events);
}

base::Result<std::unique_ptr<ClientLink>> connect(ConnectRequest request, ClientEvents& events) {
    const auto transport = split(request.address);
    if (!transport) return tl::unexpected(transport.error());
    return (*transport)->connect(request, events);
}

}  // namespace vmrpc::transport
