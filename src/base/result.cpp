#include "base/result.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <system_error>

namespace vmrpc::base {
namespace {

vmrpc_status status_of_errno(int error_number) {
    switch (error_number) {
        case EACCES:
        case EPERM:
        case EROFS:
            return VMRPC_NOT_PERMITTED;
        case ENOMEM:
        case EMFILE:
        case ENFILE:
        case ENOSPC:
        case ENOBUFS:
        case EAGAIN:
            return VMRPC_OUT_OF_RESOURCES;
        case ECONNREFUSED:
        case ENOENT:
            return VMRPC_NO_SERVER;
        case EADDRINUSE:
            return VMRPC_ADDRESS_IN_USE;
        case EPIPE:
        case ECONNRESET:
            return VMRPC_PEER_LOST;
        case ENAMETOOLONG:
        case ENOTDIR:
            return VMRPC_BAD_ADDRESS;
        case ENOSYS:
        case EOPNOTSUPP:
            return VMRPC_NOT_SUPPORTED;
        default:
            return VMRPC_BAD_ARGUMENT;
    }
}

}  // namespace

tl::unexpected<Error> fail_errno(const std::string& what, int error_number) {
    return fail(status_of_errno(error_number),
                fmt::format("{}: {}", what, std::generic_category().message(error_number)));
}

}  // namespace vmrpc::base
