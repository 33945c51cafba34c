/* vmrpc: remote procedure calls between virtual machines, containers and processes of one machine, with arguments and
 * results left in place in shared memory.
 *
 * Eight functions, and the macros of vmrpc/declare.h that make a typed stub from one declaration. Plain C11.
 *
 * Threads: every function may be called from any thread at any time, except that a handle must not be used any more
 * once vmrpc_close was called with it. After fork() the child must not use its parent's handles: calls return
 * VMRPC_CLOSED, and vmrpc_close does nothing.
 *
 * Units: sizes and offsets are bytes, durations nanoseconds; names say so.
 */
#ifndef VMRPC_VMRPC_H
#define VMRPC_VMRPC_H

#include "vmrpc/status.h"

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* One end of a connection: what vmrpc_connect returns, and, in a server function, the connection of the call. */
typedef struct vmrpc_connection vmrpc_connection;
/* A server, as vmrpc_serve returns it. */
typedef struct vmrpc_server vmrpc_server;
/* A heap of a connection; VMRPC_DEFAULT_HEAP is there from the start. */
typedef uint32_t vmrpc_heap;
#define VMRPC_DEFAULT_HEAP ((vmrpc_heap)0)

/* Values of spin_ns: how long a waiting thread looks at the memory before it sleeps. */
#define VMRPC_SPIN_ADAPTIVE ((int64_t)0) /* learned from what spinning gained, at most 100 us */
#define VMRPC_SPIN_NEVER ((int64_t)-1)
#define VMRPC_SPIN_ALWAYS ((int64_t)INT64_MAX)

/* Values of huge_pages: what the memory is made of, in pages of 2 MiB. */
typedef enum vmrpc_huge_pages {
    VMRPC_HUGE_PAGES_NONE = 0,
    /* The system's pool (vm.nr_hugepages). All are taken when the memory is made, and kept until the end: give
     * heap_bytes. VMRPC_OUT_OF_RESOURCES if there are too few. No code runs on RPC stacks then (VMRPC_ON_RPC_STACK and
     * borrow_stack: VMRPC_NOT_SUPPORTED). */
    VMRPC_HUGE_PAGES_HUGETLB = 1,
    /* The heap is committed as always, in huge pages wherever the system has them at that moment; a part of one that
     * is given back splits it. VMRPC_NOT_SUPPORTED if the system makes none of shared memory: the text names the file
     * of /sys/kernel/mm/transparent_hugepage that says so. */
    VMRPC_HUGE_PAGES_TRANSPARENT = 2
} vmrpc_huge_pages;

/* Options. `struct_bytes` is sizeof the struct, so that later versions can add fields; all zero means defaults, and a
 * NULL pointer means all zero. A size that is none of a known version gets VMRPC_BAD_ARGUMENT. */
typedef struct vmrpc_connect_options {
    size_t struct_bytes;
    int64_t timeout_ns;  /* for the connection to come about; 0: 5 s */
    uint64_t heap_bytes; /* both halves of the heap, client's and server's, together; 0: 8 GiB where both sides trust
                            each other, else 1 GiB; in a VM a share of its memory. A reservation: memory is
                            taken from the system as blocks are allocated. The server may give less. */
    int64_t spin_ns;
    uint32_t max_lanes;    /* threads that call at once without sharing; 0: 64, the most there is */
    int trust_peer;        /* effective only if the server sets it as well: data in place is not copied before it is
                              read, and pointers inside it may be followed */
    int borrow_stack;      /* functions that are called from code on the RPC stack (VMRPC_ON_RPC_STACK), with no time
                              limit, run on that same stack, below their caller's frame. Needs trust_peer, the
                              server's borrow_stack and one address of the memory on both sides, else connecting fails.
                              What the function leaves there is wiped, and the caller's control words are compared with
                              a private copy before control returns to it. Other calls of such a connection are made
                              in the ordinary way, somewhat slower than without */
    int unequal_addresses; /* nonzero: do not map the memory at the same address as the server (for tests) */
    uint64_t commit_limit_bytes; /* the most memory that this side's half of the heap takes from the system at a time;
                                    beyond it VMRPC_HEAP_FULL; 0: its whole size */
    int64_t trim_after_ns; /* memory that has been empty for so long goes back to the system; 0: 1 s; below 0: only by
                              VMRPC_TRIM */
    int prefault;   /* nonzero: take the memory of this side's half of the heap now and for good, and make the whole
                       heap present in this process. Give heap_bytes: by default it is a gigabyte or more */
    int lock;       /* nonzero: what of the heap has memory is never swapped, as far as this process can say
                       (mlock); VMRPC_OUT_OF_RESOURCES names RLIMIT_MEMLOCK */
    int huge_pages; /* a vmrpc_huge_pages: the heap is made of such pages, or connecting fails. The server makes them.
                       HUGETLB is VMRPC_NOT_PERMITTED unless it has set huge_pages or allow_huge_pages. In a VM
                       the memory is what the server has made of it for the whole VM: VMRPC_NOT_SUPPORTED if that is
                       something else */
    int64_t default_limit_ns; /* of calls that are given no limit of their own; 0: none */
} vmrpc_connect_options;

/* Who calls, in a server function, and in a function of a client's that its server calls: there uid, gid, pid and vm
 * are 0, trusted is 1, and state is of no use. See VMRPC_CALLER. */
typedef struct vmrpc_caller {
    uint64_t connection_number; /* unique in this server, from 1 */
    uint32_t uid;               /* as the kernel says; of a VM's process: that of the VMM */
    uint32_t gid;
    uint32_t pid;                 /* 0 if it cannot be known */
    uint32_t vm;                  /* number of the VM on this server, from 1; 0: a process of this machine */
    int trusted;                  /* both sides set trust_peer */
    vmrpc_connection* connection; /* for vmrpc_malloc and others, and in a server for calls back (NAME_call); valid
                                     until on_close has returned, see VMRPC_HOLD */
    void** state; /* the place of a pointer that is the server's own for this connection, NULL at first; what it points
                     to is locked by functions that run on workers at the same time */
} vmrpc_caller;

typedef struct vmrpc_serve_options {
    size_t struct_bytes;
    uint64_t heap_bytes; /* the most that one client gets; 0: 8 GiB if trusted, else 1 GiB */
    int64_t spin_ns;
    uint32_t max_lanes;       /* of each client; 0: 64 */
    uint32_t max_connections; /* 0: as many as the system lets */
    int trust_peer;
    int borrow_stack; /* run functions on the RPC stack of clients that ask for it; needs trust_peer */
    /* Told on the serving thread of each connection before its first and after its last call, those on workers too. May
     * be NULL. */
    void (*on_open)(const vmrpc_caller* caller, void* user);
    void (*on_close)(const vmrpc_caller* caller, void* user);
    void* user;                  /* handed to both */
    uint64_t commit_limit_bytes; /* of the server's half of each client's heap, that is, the most that functions can
                                    hold for one client: vmrpc_malloc gives VMRPC_HEAP_FULL beyond it */
    int64_t trim_after_ns;
    int prefault;   /* of each connection, by the serving thread, whose other clients wait meanwhile. If that fails the
                       connection is ended: its client has connected, and its calls return the reason, which is
                       VMRPC_OUT_OF_RESOURCES, or VMRPC_HEAP_FULL for commit_limit_bytes */
    int lock;       /* likewise */
    int huge_pages; /* a vmrpc_huge_pages, for every client, whether it wishes them or not; for each VM's ivshmem
                       device too, whose whole memory HUGETLB takes from the pool when the VM starts */
    int allow_huge_pages; /* nonzero: a client of this machine may choose for itself, and take pages from the pool. By
                             default it may choose TRANSPARENT only, and only where huge_pages is NONE */
    uint64_t further_heap_bytes; /* the most that all heaps take together that one client sets up in segments of their
                                    own; 0: 8 GiB if trusted, else 1 GiB */
    uint32_t workers;          /* threads for the functions that were added as pooled; 0: none, at most 1024. They start
                                  with the first VMRPC_RUN or VMRPC_POLL and end with the server */
    uint32_t max_client_calls; /* of one client's calls that workers run at a time, so that its slow ones leave workers
                                  to others; its further calls wait, and its reply slots bound how many; 0: no limit.
                                  Whatever it is, workers take the calls that wait from the clients in turn */
    uint32_t calls_per_turn;   /* requests that are taken from one client before the next one has its turn; 0: 64 */
    int64_t drain_limit_ns;    /* how long VMRPC_RUN waits, when it is stopped, for calls that it has taken; 0: for as
                                  long as they take; below 0: not at all */
    int64_t callback_limit_ns; /* of calls back that are given no limit of their own; 0: 10 s; below 0: none. A client
                                  that does not answer holds up a function that calls it, and, where that is not
                                  pooled, all other clients, for as long */
} vmrpc_serve_options;

typedef struct vmrpc_malloc_options {
    size_t struct_bytes;
    size_t alignment; /* a power of two up to 2 MiB; 0: 16 */
    vmrpc_heap heap;
} vmrpc_malloc_options;

typedef struct vmrpc_heap_options {
    size_t struct_bytes;
    uint64_t bytes; /* the most that blocks of this heap take together, up to 64 GiB; required */
    int within;     /* nonzero: inside this side's half of the connection's heap; 0: in a segment of its own */
    /* Of a heap in a segment of its own; see vmrpc_connect_options. */
    int prefault;
    int lock;
} vmrpc_heap_options;

/* This side's part of a heap, now; see VMRPC_HEAP_STATS. What the other side has allocated, it alone knows. */
typedef struct vmrpc_heap_stats {
    size_t struct_bytes;
    uint64_t reserved_bytes;  /* that its blocks can take together */
    uint64_t committed_bytes; /* that the system has set aside: for a heap in a segment of its own; else for all of this
                                 side that have none */
    uint64_t live_bytes;      /* of blocks that are allocated: what was asked for, rounded up to a size class */
    uint64_t live_blocks;
    uint64_t failed_allocations;    /* VMRPC_HEAP_FULL and VMRPC_OUT_OF_RESOURCES; of all heaps of this side */
    uint64_t remote_frees_sent;     /* blocks of the other side that were freed here; of all heaps of this side */
    uint64_t remote_frees_received; /* the other way */
    uint64_t remote_frees_waiting;  /* freed here, but the other side has no room to be told */
} vmrpc_heap_stats;

/* Connects to a server: "local:PATH" (a Unix socket's path), or in a VM "vm:" (whatever memory it shares with its
 * server), "vm:dax0.0" or "vm:0000:00:05.0" (that device); "ivshmem:" with or without a PCI address is "vm:" with
 * ivshmem devices only. "vm:FOLDER/NAME.mem" connects from the host to a server in VM NAME. Options follow a "?":
 * memory=best|dax|bar, ring=best|doorbell|vsock|serial|poll. docs/VMS.md says how a VM gets its devices. Blocks up to
 * the timeout. On success *connection is a handle that vmrpc_close frees. On failure it is NULL. Errors:
 * VMRPC_BAD_ARGUMENT, VMRPC_BAD_ADDRESS, VMRPC_NO_SERVER, VMRPC_NOT_VMRPC, VMRPC_NOT_PERMITTED, VMRPC_LAYOUT_VERSION,
 * VMRPC_TIMED_OUT, VMRPC_PEER_LOST, VMRPC_OUT_OF_RESOURCES (in a VM also: as many of its processes are connected as the
 * server has places for), VMRPC_POISONED (memory of a VM that holds what cannot be), VMRPC_NOT_SUPPORTED (in a VM: the
 * program vmrpc-sentinel is not installed); with borrow_stack also VMRPC_NOT_PERMITTED (the server does not trust this
 * client, or does not borrow stacks) and VMRPC_NOT_SUPPORTED (different addresses, or memory of the system's pool of
 * huge pages); with huge_pages VMRPC_NOT_PERMITTED and VMRPC_NOT_SUPPORTED. */
vmrpc_status vmrpc_connect(const char* address, const vmrpc_connect_options* options, vmrpc_connection** connection);

/* Opens an address for clients: "local:PATH" for processes of this machine, "vm:FOLDER" for VMs, of which each has a
 * file in that folder (`vmrpc qemu-args`; FOLDER has a '/' in it), "ivshmem:PATH" for VMs whose QEMU connects to the
 * Unix socket PATH; in a VM "vm:" or "vm:dax0.0" for processes of its host. Options of "vm:" follow a "?": those of
 * vmrpc_connect, and processes=N of one VM at once, 4 by default, at most 64. Add functions with VMRPC_ADD, then call
 * VMRPC_RUN: calls are executed on its thread, those of pooled functions on workers; or call VMRPC_POLL from a loop of
 * your own. Raises the process's limit of open files to its hard limit, as each client takes four. Clients for whom
 * none are left wait, or are refused with VMRPC_OUT_OF_RESOURCES, and the others are served as before. On success
 * *server is a handle that vmrpc_close frees. On failure it is NULL. Errors: VMRPC_BAD_ARGUMENT, VMRPC_BAD_ADDRESS,
 * VMRPC_ADDRESS_IN_USE, VMRPC_NOT_PERMITTED, VMRPC_OUT_OF_RESOURCES; for VMs also VMRPC_NOT_SUPPORTED (the program
 * vmrpc-sentinel is not installed), in a VM VMRPC_NO_SERVER (it has no DAX device). */
vmrpc_status vmrpc_serve(const char* address, const vmrpc_serve_options* options, vmrpc_server** server);

/* Closes a vmrpc_connection of vmrpc_connect or a vmrpc_server, and frees it; NULL is allowed. No other thread may be
 * in a call with the handle. The memory of the connection is unmapped: its blocks are gone. A server's clients see
 * VMRPC_PEER_LOST. Blocks for as long as a callback of the library's own thread runs; for a server also until the
 * functions that run on its workers have returned, which can see that they are in vain (VMRPC_IS_CANCELLED).
 * Errors: VMRPC_BAD_ARGUMENT (not such a handle, or a server that is running, or one of whose functions calls this). */
vmrpc_status vmrpc_close(void* connection_or_server);

/* Makes a heap of at most options->bytes, from which this side allocates, and only it. `connection` as in vmrpc_malloc.
 *
 * The heap has a segment of its own: memory that comes when the heap is set up and goes with it, at the same address
 * on both sides where possible. Blocks, pointers and spans of it are used as those of the connection's own heap, on
 * both sides, at once. Blocks until the other side has mapped it: a client for at most 5 s, a server for at most 1 s;
 * the other side's program need not do anything for it. *heap names it on both sides (for vmrpc_offset). A connection
 * has at most 15 of them, of both sides together; see further_heap_bytes. Containers of vmrpc/containers.hpp and
 * monotonic buffers take their memory from the connection's own heap. In a VM VMRPC_NOT_SUPPORTED: a VM has the
 * memory of one device.
 *
 * With options->within the heap is a part of this side's half of the connection's heap, over every transport: its
 * blocks cannot crowd out others. *heap names it on this side alone. Does not block.
 *
 * Errors: VMRPC_BAD_ARGUMENT; VMRPC_NOT_SUPPORTED; VMRPC_HEAP_FULL (within: no such room); VMRPC_OUT_OF_RESOURCES (16th
 * heap, the server's limit, memory, address space, descriptors); VMRPC_BUSY (all 15 are taken, some are just being
 * destroyed); VMRPC_TIMED_OUT; those of a connection that is over. */
vmrpc_status vmrpc_heap_setup(vmrpc_connection* connection, const vmrpc_heap_options* options, vmrpc_heap* heap);

/* Ends a heap that vmrpc_heap_setup made on this side; no other thread may allocate from it meanwhile. A segment of its
 * own is unmapped here at once, and on the other side as soon as it is told: in a server when the functions that run
 * for this client have returned. There a pointer into a client's heap is good for one call, unless the client, which
 * can end the heap, is trusted to keep it. Does not block. Errors: VMRPC_BUSY (blocks of it are still allocated;
 * nothing happened), VMRPC_BAD_ARGUMENT (no such heap, or the other side's). */
vmrpc_status vmrpc_heap_destroy(vmrpc_connection* connection, vmrpc_heap heap);

/* Allocates from this side's half of the connection's heap; `connection` NULL means that of the call being served on
 * this thread. Both sides can read and write the block, either side can free it. Contents are undefined. 0 bytes give a
 * block of its own. Does not wait for the peer, but in a VM: there it asks the server for memory now and then, and
 * waits for as long as the server executes a function. Returns NULL on failure, and VMRPC_LAST_STATUS() says why:
 * VMRPC_HEAP_FULL (no room, or the heap's commit limit), VMRPC_OUT_OF_RESOURCES (the system has no memory),
 * VMRPC_BAD_ARGUMENT (alignment, size, heap, no connection), or that the connection is over. */
void* vmrpc_malloc(vmrpc_connection* connection, size_t bytes, const vmrpc_malloc_options* options);

/* Frees a block of either side; NULL is allowed. A block of the peer's is queued for it, and checked there: if it is
 * not a block of its, or was freed before, the peer ends the connection, and the next call says so. Does not block.
 * Errors: VMRPC_BAD_FREE (own block that is not allocated; memory that is no block of this connection's),
 * VMRPC_BAD_ARGUMENT (no connection). */
vmrpc_status vmrpc_free(vmrpc_connection* connection, void* block);

/* What to add to a pointer of the peer's to get one of this side's, in bytes: 0 where both sides have the memory at the
 * same address, which is the rule. `heap` is the one that the pointer leads into: VMRPC_DEFAULT_HEAP, or one that
 * either side has set up. 0 also for a heap that is not there: VMRPC_LAST_STATUS() says VMRPC_BAD_ARGUMENT then. */
ptrdiff_t vmrpc_offset(vmrpc_connection* connection, vmrpc_heap heap);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#include "vmrpc/impl.h"
/* The macros come last: they use the above. */
#include "vmrpc/declare.h"

#endif
