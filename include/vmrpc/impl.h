/* vmrpc: what the stubs of declare.h and of the C++ headers call. Not for direct use: use the macros below and in
 * declare.h. Every symbol here is part of the ABI. */
#ifndef VMRPC_VMRPC_H
#include "vmrpc/vmrpc.h" /* which includes this file behind the types that it uses */
#endif
#ifndef VMRPC_IMPL_H
#define VMRPC_IMPL_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* How an argument or a result travels. */
typedef enum vmrpc_impl_category {
    VMRPC_IMPL_NONE = 0,       /* no result */
    VMRPC_IMPL_VALUE = 1,      /* copied into the frame; handed around as a pointer to the value */
    VMRPC_IMPL_INOUT = 2,      /* copied there and back; as a pointer to the value */
    VMRPC_IMPL_SPAN = 3,       /* elements that are read; as a pointer to a vmrpc_impl_span */
    VMRPC_IMPL_SPAN_INOUT = 4, /* elements that are read and written; likewise */
    VMRPC_IMPL_POINTER = 5,    /* one object in the heap, or NULL; as a pointer to the pointer */
    VMRPC_IMPL_BLOCK = 6       /* result only: a heap block whose ownership moves; as a pointer to a vmrpc_impl_span */
} vmrpc_impl_category;

/* Flags of an argument; they do not enter the signature. */
#define VMRPC_IMPL_ARITHMETIC \
    1u /* elements are plain numbers: no value of theirs can mislead the reader's control flow */
#define VMRPC_IMPL_IN_PLACE 2u /* never snapshot or copy, whoever the client is */

typedef struct vmrpc_impl_argument {
    uint16_t category;
    uint16_t flags;
    uint32_t bytes;     /* of the value, or of one element */
    uint32_t alignment; /* likewise */
} vmrpc_impl_argument;

typedef struct vmrpc_impl_span {
    void* data;
    size_t count; /* of elements */
} vmrpc_impl_span;

#define VMRPC_IMPL_MAX_ARGUMENTS 12
/* Up to here the server sees what an untrusted client wrote as a private snapshot. */
#define VMRPC_IMPL_SNAPSHOT_BYTES ((size_t)16 * 1024)
/* In vmrpc/buffer.h. */
struct vmrpc_buffer;

/* A function's name and signature. One static object for each; `id` is the library's, 0 at first. */
typedef struct vmrpc_impl_function {
    size_t struct_bytes;
    const char* name;
    uint32_t schema; /* the user's own number for the layout of the types; 0: none */
    uint32_t argument_count;
    const vmrpc_impl_argument* arguments;
    vmrpc_impl_argument result;
    uint32_t id;
} vmrpc_impl_function;

/* Executes a function on the server's side. `arguments` and `result` as vmrpc_impl_category says. Returns VMRPC_OK, or
 * VMRPC_FUNCTION_FAILED with a NUL-terminated text written to `error_text` (at most error_bytes). */
typedef vmrpc_status (*vmrpc_impl_handler)(void* user, void* const* arguments, void* result, char* error_text,
                                           size_t error_bytes);

typedef struct vmrpc_call_options {
    size_t struct_bytes;
    int64_t limit_ns; /* the call returns VMRPC_TIMED_OUT after that; the server may go on with it. 0: the connection's
                         default_limit_ns; VMRPC_NO_LIMIT: none; below 0: it has passed */
} vmrpc_call_options;
#define VMRPC_NO_LIMIT ((int64_t)INT64_MAX)

/* A call that was started and whose answer nobody has taken yet; {NULL, 0} stands for none. A token may be copied and
 * handed to other threads, one of which uses it at a time. After vmrpc_close its call has ended with VMRPC_CLOSED; in a
 * forked child those of the parent have. */
typedef struct vmrpc_token {
    void* call;
    uint64_t serial;
} vmrpc_token;

typedef struct vmrpc_impl_stats {
    size_t struct_bytes;
    uint64_t calls;
    uint64_t implicit_copies; /* spans that did not lie in the heap, or that could not be used in place */
    uint64_t implicit_copy_bytes;
    uint64_t rings;       /* system calls made to wake the peer */
    uint64_t sleeps;      /* times that a thread went to sleep for a reply */
    uint64_t live_blocks; /* of this side's half of the heap */
    uint64_t live_bytes;
    uint64_t calls_abandoned; /* given up at their time limit and not answered since */
    uint64_t committed_bytes; /* what the system has set aside for this side's half of the heap */
    uint64_t one_way_errors;  /* one-way calls that failed. Counted when the thread that posted a call posts or starts
                                 a further one, polls, or reads the stats */
} vmrpc_impl_stats;

/* Calls `function` and waits. Errors: those of the connection, of resolving, of the arguments, of the function. */
vmrpc_status vmrpc_impl_call(vmrpc_connection* connection, vmrpc_impl_function* function,
                             const vmrpc_call_options* options, void* const* arguments, void* result);
/* Starts a call and returns without waiting for its answer; *token stands for it then, until vmrpc_impl_wait or
 * vmrpc_impl_drop. Values are copied before this returns. Spans and objects in the heap stay in place: leave them alone
 * until the call is over. Spans elsewhere are copied in; if they are mutable they are copied back, and in/out arguments
 * are written back, by vmrpc_impl_wait: their memory must live until then. 16 calls of a thread are in flight on one
 * lane of the connection; for more the thread takes further lanes. Blocks only where the function has to be resolved.
 * Errors, with *token = {NULL, 0}: those of vmrpc_impl_call, VMRPC_BAD_ARGUMENT (an argument lies on an RPC stack),
 * VMRPC_BUSY (no lane has a free slot: take some answers). */
vmrpc_status vmrpc_impl_async(vmrpc_connection* connection, vmrpc_impl_function* function,
                              const vmrpc_call_options* options, void* const* arguments, vmrpc_token* token);
/* Posts a call whose answer nobody waits for; arguments as in vmrpc_impl_async. A block that it returns is freed, an
 * error is counted: vmrpc_impl_stats, vmrpc_impl_last_one_way_error. Calls of one thread are executed in order where
 * the server executes them inline. Waits for the server where 16 of them are on their way. Errors: as
 * vmrpc_impl_async. */
vmrpc_status vmrpc_impl_post(vmrpc_connection* connection, vmrpc_impl_function* function, void* const* arguments);
/* Waits for a call's answer and takes it, up to the call's limit; *token is {NULL, 0} then. `function`, if not NULL,
 * must be what was called. Any thread. Errors: those of the call; VMRPC_BAD_ARGUMENT (the token stands for no call: its
 * answer was taken before; another function; no place for the result), VMRPC_CLOSED. */
vmrpc_status vmrpc_impl_wait(vmrpc_token* token, vmrpc_impl_function* function, void* result);
/* Nonzero if vmrpc_impl_wait would return at once. */
int vmrpc_impl_is_ready(const vmrpc_token* token);
/* Waits until that, or for limit_ns. Returns VMRPC_OK or VMRPC_TIMED_OUT; the call goes on. */
vmrpc_status vmrpc_impl_wait_ready(const vmrpc_token* token, int64_t limit_ns);
/* Asks the server to cancel the call: one that has not begun ends with VMRPC_CANCELLED, a function that runs can ask
 * whether it is to end. The answer, whatever it is, is still to be taken. Does not wait. From another thread than the
 * one that started the call the request is passed on when that one starts or posts a call or polls. Errors:
 * VMRPC_BAD_ARGUMENT, VMRPC_CLOSED. */
vmrpc_status vmrpc_impl_cancel(const vmrpc_token* token);
/* Gives a call up, cancels it, and makes *token {NULL, 0}: what the call holds is freed when the server has answered,
 * by the next call or poll of the thread that started it. Harmless for a token that stands for no call. */
void vmrpc_impl_drop(vmrpc_token* token);
/* Has then(context) called, once, by the thread in vmrpc_impl_poll_answers, when vmrpc_impl_wait with the token would
 * return at once, or by vmrpc_close; then it is to take the answer. Until then the token is for vmrpc_impl_cancel and
 * vmrpc_impl_drop alone, and not while another thread polls. Errors: VMRPC_BAD_ARGUMENT (no such call, no function,
 * `then` is given already), VMRPC_CLOSED. */
vmrpc_status vmrpc_impl_then(const vmrpc_token* token, void (*then)(void* context), void* context);
/* Tells those whose calls are answered (vmrpc_impl_then), on this thread; if there is none, waits up to limit_ns (0:
 * not at all) for one, as long as somebody is to be told of anything. *told, if not NULL, is how many were told. Also
 * sends on what other threads have cancelled, and frees what calls held that were given up. Any thread, several at
 * once too. Errors: VMRPC_FUNCTION_FAILED (a `then` in C++ threw; all were called), VMRPC_BAD_ARGUMENT, and why the
 * connection is over, once everybody was told. */
vmrpc_status vmrpc_impl_poll_answers(vmrpc_connection* connection, int64_t limit_ns, size_t* told);
/* Of the last one-way call of the connection that failed: its status, and its text, cut to text_bytes with its NUL.
 * VMRPC_OK if none did. */
vmrpc_status vmrpc_impl_last_one_way_error(vmrpc_connection* connection, char* text, size_t text_bytes);
/* Runs `run`, with `argument`, on the RPC stack of the calling thread: its locals, and those of what it calls, lie in
 * memory that the server sees, so that spans of them and pointers to them are arguments as those to the heap are, in
 * and out, with no copy. Returns when `run` has returned. From code that runs there already `run` is called at once.
 * One stack for each thread, reused; docs/LAYOUT.md says how large. Calls with such arguments do not return before the
 * server has answered, whatever their time limit.
 * `run` must not end the thread, fork, leave by longjmp or close the connection. What it touches is seen by the server:
 * the client trusts it.
 * Stack overflow touches a guard, and is an error if it happens in the program or library that `run` is part of: its
 * frames are abandoned, nothing on them is destroyed, what they had locked stays locked. In another library, which may
 * hold locks of its own (malloc), it ends the process, with a message. For this a handler of SIGSEGV is installed at
 * first use, which passes all else on to the one before it.
 * Errors: VMRPC_FUNCTION_FAILED (`run` threw a C++ exception; the text is its), VMRPC_STACK_OVERFLOW, VMRPC_BUSY (more
 * threads than lanes: this one has no stack of its own), VMRPC_NOT_SUPPORTED (under AddressSanitizer with
 * detect_stack_use_after_return, which keeps locals off the stack; with hugetlb pages, where the stack's
 * end can have no guard; RPC stacks too small for code), VMRPC_OUT_OF_RESOURCES, VMRPC_BAD_ARGUMENT, and why the
 * connection is over. */
vmrpc_status vmrpc_impl_on_rpc_stack(vmrpc_connection* connection, void (*run)(void* argument), void* argument);
/* Calls back. A server calls a function of a client's as a client calls one of its: vmrpc_impl_call (NAME_call) with
 * the connection that VMRPC_CALLER tells of. During a call of the client's, the thread that waits for that call
 * executes it; between two a thread in vmrpc_impl_serve, or one that polls for answers. The function may call the
 * server in turn, and so on, 16 deep. While a function that is not pooled waits for the client, its server serves that
 * client alone. The limit is the call's, callback_limit_ns of the server's, or what is left of the call that it is made
 * in, whichever passes first. Spans and results are as those of any call; a client trusts its server, but not the other
 * way: what a client returned in place, an array, it can still change. Not from a function that runs on its caller's
 * RPC stack (borrow_stack). Errors, beside those of vmrpc_impl_call: VMRPC_NESTED_TOO_DEEP, VMRPC_TIMED_OUT (no thread
 * of the client's waited or served in time), VMRPC_CANCELLED (the call that it is made in was), VMRPC_PEER_LOST. */

/* Adds a function to a client's connection, for its server to call; as vmrpc_impl_add. At any time; until then the
 * server gets VMRPC_UNKNOWN_FUNCTION. Errors: VMRPC_BAD_ARGUMENT (added before, no client's connection), VMRPC_CLOSED.
 */
vmrpc_status vmrpc_impl_add_to_client(vmrpc_connection* connection, vmrpc_impl_function* function,
                                      vmrpc_impl_handler handler, void* user, void (*release)(void* user));
/* On a client's connection: executes calls that the server makes between this client's own, on this thread. If there is
 * none, waits up to limit_ns (0: not at all) for the first. *served, if not NULL, is how many there were. Any thread,
 * several at once too. Errors: VMRPC_BAD_ARGUMENT, and why the connection is over. */
vmrpc_status vmrpc_impl_serve(vmrpc_connection* connection, int64_t limit_ns, size_t* served);
/* Keeps the handle of a server's end of a connection, the one in vmrpc_caller, for calls back from any thread until
 * vmrpc_impl_release: when the connection is over they return why. Its memory stays mapped as long. To be called while
 * the handle is valid. Errors: VMRPC_BAD_ARGUMENT (no server's end). */
vmrpc_status vmrpc_impl_hold(vmrpc_connection* connection);
/* NULL is allowed. */
void vmrpc_impl_release(vmrpc_connection* connection);
/* Lends an object of this process to the server's functions during a call: *number stands for it. `function`, whose
 * first argument is that number, is added to the connection with that handler, unless it is there. */
vmrpc_status vmrpc_impl_lend(vmrpc_connection* connection, vmrpc_impl_function* function, vmrpc_impl_handler handler,
                             void* object, uint64_t* number);
/* Takes it back; waits until no other thread uses it. */
void vmrpc_impl_take_back(vmrpc_connection* connection, uint64_t number);
/* In such a function: the object, which stays lent until vmrpc_impl_done_with; NULL if it was taken back. */
void* vmrpc_impl_use_lent(uint64_t number);
void vmrpc_impl_done_with(uint64_t number);

/* Resolves a function ahead of its first call. */
vmrpc_status vmrpc_impl_require(vmrpc_connection* connection, vmrpc_impl_function* function);
/* How a function is to be executed; all zero: on the serving thread, in the order in which calls are found. */
typedef struct vmrpc_add_options {
    size_t struct_bytes;
    int pooled;  /* by one of the server's workers (vmrpc_serve_options.workers): a call that takes its time, or
                    blocks, holds up no other. Answers are in any order. Not on a stack that is lent
                    (borrow_stack): a worker has its own */
    int ordered; /* pooled: the calls of one connection run one after the other, in the order in which the
                    server finds them, that is, for those of one thread, in the order of that thread; all
                    ordered functions together */
    uint32_t max_running; /* pooled: calls of all clients that run at a time; others wait; 0: as many as workers */
} vmrpc_add_options;

/* Adds a function to a server; `release`, if not NULL, is called with `user` when the server is closed; `options` may
 * be NULL. Only before vmrpc_impl_run and vmrpc_impl_poll. A pooled function is called by several threads at a time,
 * unless max_running is 1. Errors: VMRPC_BAD_ARGUMENT (added before, running, a name or signature that cannot be,
 * pooled without workers, ordered or limited without pooled). */
vmrpc_status vmrpc_impl_add(vmrpc_server* server, vmrpc_impl_function* function, vmrpc_impl_handler handler, void* user,
                            void (*release)(void* user), const vmrpc_add_options* options);
/* Serves on this thread until vmrpc_impl_stop, then drains: calls that were taken go on and are answered, new ones get
 * VMRPC_SHUTTING_DOWN, and it returns when all are answered or drain_limit_ns has passed; then calls that wait for a
 * worker get VMRPC_SHUTTING_DOWN, and those that run are cancelled (VMRPC_IS_CANCELLED). It may be called again.
 * Errors: VMRPC_BAD_ARGUMENT (running already), VMRPC_CLOSED (the parent's, after a fork), VMRPC_OUT_OF_RESOURCES (no
 * thread for a worker). */
vmrpc_status vmrpc_impl_run(vmrpc_server* server);
/* Serves what is there, and returns: for programs with a loop of their own. *taken, if not NULL, is how many requests
 * it took, those that it handed to workers too. Does not wait; an inline function that it runs may. One thread at a
 * time. After 0, vmrpc_impl_descriptor becomes readable as soon as there is something to do: for (;;) { uint64_t taken
 * = 1; vmrpc_status status = VMRPC_OK; while (status == VMRPC_OK && taken != 0) status = VMRPC_POLL(server, &taken); if
 * (status != VMRPC_OK) break; epoll_wait(...);   // or poll(2): VMRPC_DESCRIPTOR(server) among others
 *     }
 * It spins not at all: a client that calls after 0 has to ring, which is a system call.
 * Errors: those of vmrpc_impl_run; VMRPC_SHUTTING_DOWN when vmrpc_impl_stop is carried out, as for vmrpc_impl_run,
 * whose drain_limit_ns is looked at here only; the poll after that serves anew. */
vmrpc_status vmrpc_impl_poll(vmrpc_server* server, uint64_t* taken);
/* The descriptor to wait on, level- or edge-triggered, until vmrpc_impl_poll has something to do: an epoll descriptor
 * of the server's, which ends with it; not to be read, changed or closed. -1 for a handle that is no server of this
 * process. */
int vmrpc_impl_descriptor(vmrpc_server* server);
/* Makes vmrpc_impl_run drain and return, or vmrpc_impl_poll end with VMRPC_SHUTTING_DOWN. The second time, before that
 * has happened: at once. Any thread, server functions, and signal handlers. */
void vmrpc_impl_stop(vmrpc_server* server);
/* What the server has counted, as JSON (docs/STATS.md), cut to text_bytes with its NUL, which is at least 1. Returns
 * how long the text is, without NUL, as snprintf; 0 if there is no such server. Any thread, but not while functions are
 * added. */
size_t vmrpc_impl_report(vmrpc_server* server, char* text, size_t text_bytes);
/* The same of what a client has counted and timed since it connected. 0 if there is no such client; the thread's last
 * error says why. Any thread; does not block. */
size_t vmrpc_impl_client_report(vmrpc_connection* connection, char* text, size_t text_bytes);
/* The caller of the call being served on this thread; NULL outside of one. */
const vmrpc_caller* vmrpc_impl_current_caller(void);
/* How long the caller of the call being served on this thread still waits for it, at least 0; INT64_MAX: it set no
 * limit, or this thread serves no call. */
int64_t vmrpc_impl_remaining_ns(void);
/* Whether nobody waits for the call being served on this thread any more: it was cancelled, its time has passed, its
 * client has gone, or the server ends it (see vmrpc_impl_run). What it returns is dropped then, but for a cancelled
 * call's: a result is still a result, and a failure becomes VMRPC_CANCELLED. Only a function on a worker can see that
 * its call is cancelled: the serving thread takes that request when it is free. */
int vmrpc_impl_is_cancelled(void);
/* Makes the call being served on this thread end with VMRPC_FUNCTION_FAILED and this text, when its function returns;
 * what the function returns is dropped. Errors: VMRPC_BAD_ARGUMENT outside of a call. */
vmrpc_status vmrpc_impl_fail(const char* text);
/* The connection's counters. */
vmrpc_status vmrpc_impl_read_stats(vmrpc_connection* connection, vmrpc_impl_stats* stats);
/* A heap's counters. `connection` NULL: that of the call being served. Errors: VMRPC_BAD_ARGUMENT. */
vmrpc_status vmrpc_impl_read_heap_stats(vmrpc_connection* connection, vmrpc_heap heap, vmrpc_heap_stats* stats);
/* How many bytes a block of this side has: all that was asked for, and what it was rounded up to. 0 for NULL, and for
 * what is no live block of this side. `connection` NULL: that of the call being served. */
size_t vmrpc_impl_usable_bytes(vmrpc_connection* connection, const void* block);
/* Gives the memory behind this side's empty part of the heap back to the system at once, and not after trim_after_ns;
 * what is allocated there next has to be set aside anew. `connection` NULL: that of the call being served. Blocks while
 * the system, in a VM the server, does it. Errors: VMRPC_BAD_ARGUMENT (no connection). */
vmrpc_status vmrpc_impl_trim_heap(vmrpc_connection* connection);
/* A place in the connection's shared memory as a number that means the same on both sides; 0 for NULL or a pointer that
 * does not lie there. `connection` NULL: that of the call being served. */
uint64_t vmrpc_impl_to_wire(vmrpc_connection* connection, const void* pointer);
/* The other way: NULL if `bytes` bytes there do not lie in the shared memory, or are not aligned. */
void* vmrpc_impl_from_wire(vmrpc_connection* connection, uint64_t wire, uint64_t bytes, uint64_t alignment);
/* The open connection of this process whose shared memory `address` lies in, and in *range, if not NULL, the bytes of
 * that memory; NULL and an empty range if there is none. On a thread that serves a call that is the call's connection
 * or one that this process made as a client, never another client's. */
vmrpc_connection* vmrpc_impl_connection_of(const void* address, vmrpc_impl_span* range);
/* The bytes of a connection's shared memory that spans and pointers may reach; empty if it is not open. */
vmrpc_impl_span vmrpc_impl_shared_memory(vmrpc_connection* connection);
/* Whether what the connection's peer writes may be used as it is: a client trusts its server, a server its client where
 * both sides set trust_peer. 0 for NULL. */
int vmrpc_impl_is_trusted(vmrpc_connection* connection);
/* The slow paths of vmrpc/buffer.h. */
void* vmrpc_impl_buffer_grow(struct vmrpc_buffer* buffer, size_t bytes, size_t alignment);
vmrpc_status vmrpc_impl_buffer_release(struct vmrpc_buffer* buffer);
/* Of the last call of this thread that failed. */
vmrpc_status vmrpc_impl_last_status(void);
const char* vmrpc_impl_last_error_text(void);
/* What a status means, in a sentence. */
const char* vmrpc_impl_status_text(vmrpc_status status);
/* The name of a status as the header has it: "VMRPC_TIMED_OUT". */
const char* vmrpc_impl_status_name(vmrpc_status status);

/* Of this thread's last vmrpc call that failed: status, and a text with the values and the remedy. The text is valid
 * until the thread's next failure. */
#define VMRPC_LAST_STATUS() vmrpc_impl_last_status()
#define VMRPC_LAST_ERROR_TEXT() vmrpc_impl_last_error_text()
#define VMRPC_STATUS_TEXT(status) vmrpc_impl_status_text(status)
#define VMRPC_STATUS_NAME(status) vmrpc_impl_status_name(status)
/* In a server function, in C: fail, with a text for the caller; then return anything. (C++ throws.) */
#define VMRPC_FAIL(text) vmrpc_impl_fail(text)
/* Gives the memory behind this side's empty part of the heap back at once. */
#define VMRPC_TRIM(connection) vmrpc_impl_trim_heap(connection)
/* In a server function: who calls (const vmrpc_caller *). NULL elsewhere. */
#define VMRPC_CALLER() vmrpc_impl_current_caller()
/* In a server function: nanoseconds that are left of its caller's time limit; INT64_MAX: none was set. */
#define VMRPC_REMAINING_NS() vmrpc_impl_remaining_ns()
/* In a server function: whether it can give up, as nobody waits for it. */
#define VMRPC_IS_CANCELLED() vmrpc_impl_is_cancelled()
/* Fills a vmrpc_heap_stats, whose struct_bytes is set. Returns VMRPC_OK or VMRPC_BAD_ARGUMENT. Does not block. */
#define VMRPC_HEAP_STATS(connection, heap, stats) vmrpc_impl_read_heap_stats(connection, heap, stats)
/* The bytes of a block of this side that may be used, or 0. */
#define VMRPC_USABLE_BYTES(connection, block) vmrpc_impl_usable_bytes(connection, block)
/* Runs a function, void run(void *argument), on this thread's RPC stack; see vmrpc_impl_on_rpc_stack. */
#define VMRPC_ON_RPC_STACK(connection, run, argument) vmrpc_impl_on_rpc_stack(connection, run, argument)
/* Of a call that NAME_async started: whether NAME_wait would return at once (int); waiting for that, up to a limit;
 * cancelling it; giving it up; being told of its answer by VMRPC_POLL_ANSWERS. */
#define VMRPC_READY(token) vmrpc_impl_is_ready(token)
#define VMRPC_WAIT_READY(token, limit_ns) vmrpc_impl_wait_ready(token, limit_ns)
#define VMRPC_CANCEL(token) vmrpc_impl_cancel(token)
#define VMRPC_DROP(token) vmrpc_impl_drop(token)
#define VMRPC_THEN(token, then, context) vmrpc_impl_then(token, then, context)
#define VMRPC_POLL_ANSWERS(connection, limit_ns, told) vmrpc_impl_poll_answers(connection, limit_ns, told)
/* How the last NAME_post that failed did. */
#define VMRPC_LAST_ONE_WAY_ERROR(connection, text, text_bytes) \
    vmrpc_impl_last_one_way_error(connection, text, text_bytes)
/* A client's connection: executes what its server calls, and waits for it; see vmrpc_impl_serve. */
#define VMRPC_SERVE(connection, limit_ns, served) vmrpc_impl_serve(connection, limit_ns, served)
/* A server's end of a connection: keeps the handle for calls back from anywhere; see vmrpc_impl_hold. */
#define VMRPC_HOLD(connection) vmrpc_impl_hold(connection)
#define VMRPC_RELEASE(connection) vmrpc_impl_release(connection)
/* Serves until VMRPC_STOP. Returns as vmrpc_impl_run. */
#define VMRPC_RUN(server) vmrpc_impl_run(server)
/* What the server has counted: see vmrpc_impl_report. */
#define VMRPC_REPORT(server, text, text_bytes) vmrpc_impl_report(server, text, text_bytes)
/* What a client has counted: see vmrpc_impl_client_report. */
#define VMRPC_CLIENT_REPORT(connection, text, text_bytes) vmrpc_impl_client_report(connection, text, text_bytes)
/* Serves what is there; see vmrpc_impl_poll for the loop. */
#define VMRPC_POLL(server, taken) vmrpc_impl_poll(server, taken)
/* What to wait on between two calls of VMRPC_POLL. */
#define VMRPC_DESCRIPTOR(server) vmrpc_impl_descriptor(server)
/* Stops VMRPC_RUN, which answers what it has taken before it returns; the second time at once. Safe in a signal
 * handler. */
#define VMRPC_STOP(server) vmrpc_impl_stop(server)

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#endif
