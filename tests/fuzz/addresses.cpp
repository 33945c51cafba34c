// Addresses, as users and configurations give them, of every transport. Nothing of the machine is opened: what lies
// behind a good address is below what is no folder, nor can become one.
#include "fuzz/input.hpp"
#include "transport/local/socket.hpp"
#include "transport/transport.hpp"
#include "transport/vm/address.hpp"

#include <cstdlib>
#include <cstring>
#include <string>
#include <tuple>

namespace vmrpc::fuzz {
namespace {

class Events final : public transport::ClientEvents, public transport::ListenerEvents {
  public:
    void lost() override {}
    void opened(std::unique_ptr<transport::ServerLink> /*link*/) override {}
    void lost(transport::ServerLink* /*link*/) override {}
};

bool begins_with_a_scheme(const std::string& address) {
    const std::string scheme = address.substr(0, address.find(':'));
    return scheme == "local" || scheme == "vm" || scheme == "ivshmem";
}

/// Neither is there, whatever the text says.
void open(const std::string& address) {
    Events events;
    if (transport::connect({address, {}, base::Deadline::in(1)}, events)) std::abort();
    if (transport::listen({address, {}}, events)) std::abort();
}

}  // namespace
}  // namespace vmrpc::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace vmrpc;
    const std::string text(reinterpret_cast<const char*>(data), size);
    if (const auto path = transport::local::socket_address(text))
        if (std::strlen(static_cast<const char*>(path->sun_path)) != size) std::abort();
    if (const auto address = transport::vm::parse_address(text)) {
        if (address->processes < 1 || address->processes > transport::vm::kMostProcesses) std::abort();
        std::ignore = transport::vm::name_of(address->memory);
        std::ignore = transport::vm::name_of(address->ring);
    }
    if (!fuzz::begins_with_a_scheme(text)) fuzz::open(text);
    for (const char* const scheme : {"local:", "vm:", "ivshmem:"}) fuzz::open(scheme + ("/dev/null/" + text));
    return 0;
}
