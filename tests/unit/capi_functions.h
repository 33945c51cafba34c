/* One function of each kind; capi_stub.c implements them, and calls them. */
#ifndef VMRPC_TESTS_CAPI_FUNCTIONS_H
#define VMRPC_TESTS_CAPI_FUNCTIONS_H

#include <vmrpc/vmrpc.h>

typedef struct capi_point {
    int32_t x;
    double y;
} capi_point;

VMRPC_DECLARE(int64_t, capi_add, (VALUE, int32_t, left), (VALUE, int64_t, right))
VMRPC_DECLARE(capi_point, capi_mirror, (VALUE, capi_point, point))
VMRPC_DECLARE_VOID(capi_swap, (INOUT, int32_t, left), (INOUT, int32_t, right))
VMRPC_DECLARE(double, capi_sum, (SPAN, double, values))
VMRPC_DECLARE_VOID(capi_double, (SPAN_INOUT, uint16_t, values))
VMRPC_DECLARE(uint64_t, capi_address, (SPAN_IN_PLACE, char, bytes))
VMRPC_DECLARE_VOID(capi_fill_in_place, (SPAN_INOUT_IN_PLACE, char, bytes), (VALUE, char, with))
VMRPC_DECLARE(int32_t, capi_move, (POINTER, capi_point, point), (VALUE, int32_t, by))
VMRPC_DECLARE_BLOCK(uint32_t, capi_squares, (VALUE, uint64_t, count))
VMRPC_DECLARE_VOID(capi_nothing, VMRPC_NO_ARGUMENTS)
VMRPC_DECLARE(double, capi_eight, (VALUE, int8_t, a), (VALUE, int16_t, b), (VALUE, int32_t, c), (VALUE, int64_t, d),
              (VALUE, float, e), (VALUE, double, f), (VALUE, capi_point, g), (SPAN, char, h))
/* What the server sees of its caller: bit 0 there is one, bit 1 its connection takes a malloc, bit 2 NULL means it. */
VMRPC_DECLARE(uint32_t, capi_who, VMRPC_NO_ARGUMENTS)
/* Counts the calls of this connection in the connection's state. */
VMRPC_DECLARE(uint64_t, capi_count, VMRPC_NO_ARGUMENTS)
/* Allocates and frees in the caller's heap, good and bad; returns 0, or the number of the step that went wrong. */
VMRPC_DECLARE(int32_t, capi_heap_steps, VMRPC_NO_ARGUMENTS)
/* Frees a block of the client's. */
VMRPC_DECLARE(int32_t, capi_free, (POINTER, capi_point, block))
/* What vmrpc_close says of the server's end of the connection. */
VMRPC_DECLARE(int32_t, capi_close_server_end, VMRPC_NO_ARGUMENTS)
/* What is left of the caller's time limit, INT64_MAX if there is none; negated where the call is in vain. */
VMRPC_DECLARE(int64_t, capi_remaining, VMRPC_NO_ARGUMENTS)

/* Of the client's; and one of the server's that calls them back: the sum of the answers, or minus the status of what
 * failed. */
VMRPC_DECLARE(int64_t, capi_answer, (VALUE, int64_t, question))
VMRPC_DECLARE_BLOCK(int64_t, capi_answers, (SPAN, int64_t, questions))
VMRPC_DECLARE(int64_t, capi_ask, (VALUE, int64_t, question))

#ifdef __cplusplus
extern "C" {
#endif

/* Adds every function above; the first status that is not VMRPC_OK. */
vmrpc_status capi_add_all(vmrpc_server* server);

/* Adds capi_remaining to a server, as a function for its workers. */
vmrpc_status capi_add_pooled(vmrpc_server* server);
/* Serves from a loop of its own; the status that ended it. */
vmrpc_status capi_serve_in_loop(vmrpc_server* server);

/* Calls every kind of function from C; 0, or the line of the check that failed. */
int capi_call_all(vmrpc_connection* connection);

/* The address of VMRPC_CALLER() outside of a call. */
const void* capi_caller_outside(void);

/* Callbacks for vmrpc_serve_options; `user` is a capi_notes. */
typedef struct capi_notes {
    int opened;
    int closed;
    uint64_t last_connection_number;
    uint64_t calls_when_closed; /* of the connection that closed last */
} capi_notes;
void capi_on_open(const vmrpc_caller* caller, void* user);
void capi_on_close(const vmrpc_caller* caller, void* user);

#ifdef __cplusplus
}
#endif

#endif
