// What servers and clients say of themselves, at the border of the library. Nothing throws across it.
#include "client_report.hpp"
#include "guarded.hpp"
#include "handles.hpp"

#include <vmrpc/vmrpc.h>

#include <cstddef>
#include <string>

namespace vmrpc {
namespace {

using base::Status;

/// What `make` gives, cut to text_bytes with its NUL. Returns its length; 0 if it failed.
template <class Make>
std::size_t put_report(char* text, std::size_t text_bytes, Make&& make) {
    std::size_t length = 0;
    const vmrpc_status status = guarded([&]() -> Status {
        const base::Result<std::string> report = make();
        VMRPC_TRY(report);
        length = report->size();
        if (text != nullptr && text_bytes != 0) text[report->copy(text, text_bytes - 1)] = '\0';
        return {};
    });
    return status == VMRPC_OK ? length : 0;
}

}  // namespace
}  // namespace vmrpc

extern "C" {

size_t vmrpc_impl_client_report(vmrpc_connection* connection, char* text, size_t text_bytes) {
    return vmrpc::put_report(text, text_bytes, [&]() -> vmrpc::base::Result<std::string> {
        auto client = vmrpc::client_of(connection);
        VMRPC_TRY(client);
        return vmrpc::report_of(**client);
    });
}

size_t vmrpc_impl_report(vmrpc_server* server, char* text, size_t text_bytes) {
    return vmrpc::put_report(text, text_bytes, [&]() -> vmrpc::base::Result<std::string> {
        auto loop = vmrpc::server_of(server);
        VMRPC_TRY(loop);
        return (*loop)->report();
    });
}
}
