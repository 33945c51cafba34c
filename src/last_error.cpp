#include "last_error.hpp"

#include <vmrpc/vmrpc.h>

#include <string>
#include <utility>

namespace vmrpc {
namespace {

base::Error& last_error() {
    thread_local base::Error error;
    return error;
}

struct StatusEntry {
    vmrpc_status status;
    const char* name;
    const char* text;
};

#define VMRPC_STATUS_ENTRY(status, text) \
    { status, #status, text }
constexpr StatusEntry kStatuses[] = {
    VMRPC_STATUS_ENTRY(VMRPC_OK, "success"),
    VMRPC_STATUS_ENTRY(VMRPC_TIMED_OUT, "the time limit has passed"),
    VMRPC_STATUS_ENTRY(VMRPC_HEAP_FULL, "the heap is full"),
    VMRPC_STATUS_ENTRY(VMRPC_BUSY, "too many calls are still running; retry later"),
    VMRPC_STATUS_ENTRY(VMRPC_OUT_OF_RESOURCES, "the system is out of memory, descriptors or address space"),
    VMRPC_STATUS_ENTRY(VMRPC_SHUTTING_DOWN, "the server is stopping"),
    VMRPC_STATUS_ENTRY(VMRPC_CANCELLED, "the call was cancelled by its caller"),
    VMRPC_STATUS_ENTRY(VMRPC_PEER_LOST, "the peer has died or closed the connection; connect again"),
    VMRPC_STATUS_ENTRY(VMRPC_POISONED, "the protocol was broken, the connection is over; connect again"),
    VMRPC_STATUS_ENTRY(VMRPC_CLOSED, "the connection is closed on this side"),
    VMRPC_STATUS_ENTRY(VMRPC_NO_SERVER, "no server listens at the address"),
    VMRPC_STATUS_ENTRY(VMRPC_BAD_ARGUMENT, "an argument is out of its range"),
    VMRPC_STATUS_ENTRY(VMRPC_BAD_ADDRESS, "the address cannot be understood"),
    VMRPC_STATUS_ENTRY(VMRPC_UNKNOWN_FUNCTION, "the server has no such function"),
    VMRPC_STATUS_ENTRY(VMRPC_SIGNATURE_MISMATCH, "the server's function has another signature"),
    VMRPC_STATUS_ENTRY(VMRPC_FRAME_TOO_LARGE, "values are too large for a frame; pass them as spans from the heap"),
    VMRPC_STATUS_ENTRY(VMRPC_OUTSIDE_HEAP, "a span or pointer does not lie in the connection's heap"),
    VMRPC_STATUS_ENTRY(VMRPC_BAD_FREE, "not a block that is allocated in this heap"),
    VMRPC_STATUS_ENTRY(VMRPC_FUNCTION_FAILED, "the server function failed"),
    VMRPC_STATUS_ENTRY(VMRPC_NOT_PERMITTED, "not permitted"),
    VMRPC_STATUS_ENTRY(VMRPC_ADDRESS_IN_USE, "another server is at the address"),
    VMRPC_STATUS_ENTRY(VMRPC_NOT_VMRPC, "what is at the address does not speak vmrpc"),
    VMRPC_STATUS_ENTRY(VMRPC_STACK_OVERFLOW, "code ran over the end of an RPC stack; build large objects in the heap"),
    VMRPC_STATUS_ENTRY(VMRPC_NESTED_TOO_DEEP, "calls and calls back are nested too deep"),
    VMRPC_STATUS_ENTRY(VMRPC_LAYOUT_VERSION, "the peer uses another version of the shared layout"),
    VMRPC_STATUS_ENTRY(VMRPC_NOT_SUPPORTED, "not supported here"),
};
#undef VMRPC_STATUS_ENTRY

const StatusEntry* find(vmrpc_status status) {
    for (const StatusEntry& entry : kStatuses) {
        if (entry.status == status) return &entry;
    }
    return nullptr;
}

}  // namespace

vmrpc_status failed(base::Error error) {
    last_error() = std::move(error);
    return last_error().status;
}

}  // namespace vmrpc

extern "C" {

vmrpc_status vmrpc_impl_last_status(void) {
    return vmrpc::last_error().status;
}

const char* vmrpc_impl_last_error_text(void) {
    return vmrpc::last_error().text.c_str();
}

const char* vmrpc_impl_status_text(vmrpc_status status) {
    const auto* entry = vmrpc::find(status);
    return entry == nullptr ? "unknown status" : entry->text;
}

const char* vmrpc_impl_status_name(vmrpc_status status) {
    const auto* entry = vmrpc::find(status);
    return entry == nullptr ? "VMRPC_UNKNOWN_STATUS" : entry->name;
}
}
