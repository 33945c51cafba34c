/* vmrpc: what a call can end with, grouped by what the caller should do about it. */
#ifndef VMRPC_STATUS_H
#define VMRPC_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

/* The hundreds digit is the remedy: 1 retry later, 2 reconnect, 3 fix the call, 4 not supported here. */
typedef enum vmrpc_status {
    VMRPC_OK = 0,

    /* Retry later: nothing is wrong with the call or the connection. */
    VMRPC_TIMED_OUT = 100,        /* the time limit passed; the function may still run, its result is dropped */
    VMRPC_HEAP_FULL = 101,        /* no free range of that size in this side's half of the heap */
    VMRPC_BUSY = 102,             /* too many calls that were given up are still running in the server */
    VMRPC_OUT_OF_RESOURCES = 103, /* the system refused memory, address space or descriptors */
    VMRPC_SHUTTING_DOWN = 104,    /* the server is stopping */
    VMRPC_CANCELLED = 105,        /* the caller cancelled the call before it ran, or the function gave up for that */

    /* Reconnect: this connection is over. */
    VMRPC_PEER_LOST = 200, /* the peer's process or VM died, or it closed the connection */
    VMRPC_POISONED = 201,  /* one side broke the protocol; the text says which rule */
    VMRPC_CLOSED = 202,    /* closed on this side */
    VMRPC_NO_SERVER = 203, /* nobody listens at the address */

    /* Fix the call: the same call will fail again. */
    VMRPC_BAD_ARGUMENT = 300,       /* an argument of the API call is out of its range */
    VMRPC_BAD_ADDRESS = 301,        /* the address string cannot be understood */
    VMRPC_UNKNOWN_FUNCTION = 302,   /* the server has no function of that name */
    VMRPC_SIGNATURE_MISMATCH = 303, /* the server's function has another signature; the text shows both */
    VMRPC_FRAME_TOO_LARGE = 304,    /* values passed by value exceed the frame; pass a span instead */
    VMRPC_OUTSIDE_HEAP = 305,       /* a span or pointer reaches outside the memory that both sides share */
    VMRPC_BAD_FREE = 306,           /* freed twice, or not a block of this connection's heap */
    VMRPC_FUNCTION_FAILED = 307,    /* the server function threw; the text is the exception's */
    VMRPC_NOT_PERMITTED = 308,      /* the system's permissions forbid it */
    VMRPC_ADDRESS_IN_USE = 309,     /* another server is alive at the address */
    VMRPC_NOT_VMRPC = 310,          /* what answers at the address does not speak vmrpc */
    VMRPC_STACK_OVERFLOW = 311,     /* code ran over the end of an RPC stack; build large objects in the heap */
    VMRPC_NESTED_TOO_DEEP = 312,    /* calls and calls back are nested deeper than 16 */

    /* Not supported here. */
    VMRPC_LAYOUT_VERSION = 400, /* the peer uses another version of the shared layout */
    VMRPC_NOT_SUPPORTED = 401   /* this transport, platform or build cannot do it */
} vmrpc_status;

/* What to do about a status. */
typedef enum vmrpc_remedy {
    VMRPC_REMEDY_NONE = 0,
    VMRPC_REMEDY_RETRY_LATER = 1,
    VMRPC_REMEDY_RECONNECT = 2,
    VMRPC_REMEDY_FIX_THE_CALL = 3,
    VMRPC_REMEDY_NOT_SUPPORTED = 4
} vmrpc_remedy;

/* The remedy of any status; VMRPC_REMEDY_NONE for VMRPC_OK. */
#define VMRPC_REMEDY(status) ((vmrpc_remedy)((int)(status) / 100))

#ifdef __cplusplus
}
#endif

#endif
