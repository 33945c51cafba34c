/* The C API from C11: a server's functions. */
#include "capi_functions.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>

int64_t capi_add(int32_t left, int64_t right) {
    return left + right;
}

capi_point capi_mirror(capi_point point) {
    point.x = -point.x;
    point.y = -point.y;
    return point;
}

void capi_swap(int32_t* left, int32_t* right) {
    const int32_t old = *left;
    *left = *right;
    *right = old;
}

double capi_sum(const double* values, size_t values_count) {
    double sum = 0;
    for (size_t i = 0; i < values_count; ++i) sum += values[i];
    return sum;
}

void capi_double(uint16_t* values, size_t values_count) {
    for (size_t i = 0; i < values_count; ++i) values[i] = (uint16_t)(2 * values[i]);
}

uint64_t capi_address(const char* bytes, size_t bytes_count) {
    return bytes_count == 0 ? 0 : (uint64_t)(uintptr_t)bytes;
}

void capi_fill_in_place(char* bytes, size_t bytes_count, char with) {
    memset(bytes, with, bytes_count);
}

int32_t capi_move(capi_point* point, int32_t by) {
    if (point == NULL) return -1;
    point->x += by;
    return point->x;
}

vmrpc_block capi_squares(uint64_t count) {
    vmrpc_block block = {vmrpc_malloc(NULL, count * sizeof(uint32_t), NULL), count};
    if (block.data == NULL) block.count = 0;
    for (size_t i = 0; i < block.count; ++i) ((uint32_t*)block.data)[i] = (uint32_t)(i * i);
    return block;
}

void capi_nothing(void) {}

double capi_eight(int8_t a, int16_t b, int32_t c, int64_t d, float e, double f, capi_point g, const char* h,
                  size_t h_count) {
    double sum = a + b + c + (double)d + (double)e + f + g.x + g.y;
    for (size_t i = 0; i < h_count; ++i) sum += h[i];
    return sum;
}

uint32_t capi_who(void) {
    const vmrpc_caller* caller = VMRPC_CALLER();
    if (caller == NULL) return 0;
    void* of_connection = vmrpc_malloc(caller->connection, 64, NULL);
    void* of_null = vmrpc_malloc(NULL, 64, NULL);
    const uint32_t seen = 1u | (of_connection != NULL ? 2u : 0u) |
                          (vmrpc_free(caller->connection, of_null) == VMRPC_OK && of_null != NULL ? 4u : 0u);
    vmrpc_free(NULL, of_connection);
    return seen;
}

uint64_t capi_count(void) {
    return ++*(uint64_t*)*VMRPC_CALLER()->state;
}

int32_t capi_heap_steps(void) {
    const vmrpc_heap_options options = {.struct_bytes = sizeof options, .bytes = 1 << 20};
    vmrpc_malloc_options aligned = {.struct_bytes = sizeof aligned, .alignment = 4096};
    int outside = 0;
    if (vmrpc_heap_setup(NULL, &options, &aligned.heap) != VMRPC_OK) return 1;
    void* block = vmrpc_malloc(NULL, 100, &aligned);
    if (block == NULL || (uintptr_t)block % 4096 != 0) return 2;
    if (vmrpc_heap_destroy(NULL, aligned.heap) != VMRPC_BUSY) return 3;
    if (vmrpc_free(NULL, (char*)block + 16) != VMRPC_BAD_FREE) return 4;
    if (vmrpc_free(NULL, block) != VMRPC_OK) return 5;
    if (vmrpc_free(NULL, block) != VMRPC_BAD_FREE) return 6;
    if (vmrpc_free(NULL, &outside) != VMRPC_BAD_FREE) return 7;
    if (vmrpc_heap_destroy(NULL, aligned.heap) != VMRPC_OK) return 8;
    if (vmrpc_malloc(NULL, 100, &aligned) != NULL) return 9;
    return VMRPC_LAST_STATUS() == VMRPC_BAD_ARGUMENT ? 0 : 10;
}

int32_t capi_free(capi_point* block) {
    return (int32_t)vmrpc_free(NULL, block);
}

int32_t capi_close_server_end(void) {
    return (int32_t)vmrpc_close(VMRPC_CALLER()->connection);
}

int64_t capi_remaining(void) {
    return VMRPC_IS_CANCELLED() ? -VMRPC_REMAINING_NS() : VMRPC_REMAINING_NS();
}

vmrpc_status capi_add_pooled(vmrpc_server* server) {
    const vmrpc_add_options options = {.struct_bytes = sizeof options, .pooled = 1, .ordered = 1, .max_running = 2};
    return VMRPC_ADD_WITH(server, capi_remaining, &options);
}

vmrpc_status capi_serve_in_loop(vmrpc_server* server) {
    struct pollfd ready = {.fd = VMRPC_DESCRIPTOR(server), .events = POLLIN};
    for (;;) {
        uint64_t taken = 1;
        vmrpc_status status = VMRPC_OK;
        while (status == VMRPC_OK && taken != 0) status = VMRPC_POLL(server, &taken);
        if (status != VMRPC_OK) return status;
        if (poll(&ready, 1, 30000) == 0) return VMRPC_TIMED_OUT; /* a wake-up was lost */
    }
}

int64_t capi_answer(int64_t question) {
    if (question < 0) VMRPC_FAIL("no answer");
    return 10 * question;
}

vmrpc_block capi_answers(const int64_t* questions, size_t questions_count) {
    int64_t* made = vmrpc_malloc(NULL, questions_count * sizeof *made, NULL);
    const vmrpc_block block = {made, made == NULL ? 0 : questions_count};
    for (size_t i = 0; i < block.count; ++i) made[i] = 100 * questions[i];
    return block;
}

int64_t capi_ask(int64_t question) {
    vmrpc_connection* client = VMRPC_CALLER()->connection;
    const int64_t questions[] = {question, question + 1};
    int64_t answer = 0;
    vmrpc_block answers = {NULL, 0};
    vmrpc_status status = capi_answer_call(client, NULL, &answer, question);
    if (status == VMRPC_OK) status = capi_answers_call(NULL, NULL, &answers, questions, 2);
    if (status != VMRPC_OK) return -(int64_t)status;
    for (size_t i = 0; i < answers.count; ++i) answer += ((int64_t*)answers.data)[i];
    return vmrpc_free(client, answers.data) == VMRPC_OK ? answer : -1;
}

vmrpc_status capi_add_all(vmrpc_server* server) {
    const vmrpc_status added[] = {VMRPC_ADD(server, capi_add),
                                  VMRPC_ADD(server, capi_mirror),
                                  VMRPC_ADD(server, capi_swap),
                                  VMRPC_ADD(server, capi_sum),
                                  VMRPC_ADD(server, capi_double),
                                  VMRPC_ADD(server, capi_address),
                                  VMRPC_ADD(server, capi_fill_in_place),
                                  VMRPC_ADD(server, capi_move),
                                  VMRPC_ADD(server, capi_squares),
                                  VMRPC_ADD(server, capi_nothing),
                                  VMRPC_ADD(server, capi_eight),
                                  VMRPC_ADD(server, capi_who),
                                  VMRPC_ADD(server, capi_count),
                                  VMRPC_ADD(server, capi_heap_steps),
                                  VMRPC_ADD(server, capi_free),
                                  VMRPC_ADD(server, capi_close_server_end),
                                  VMRPC_ADD(server, capi_ask)};
    for (size_t i = 0; i < sizeof added / sizeof *added; ++i)
        if (added[i] != VMRPC_OK) return added[i];
    return VMRPC_OK;
}

const void* capi_caller_outside(void) {
    return VMRPC_CALLER();
}

void capi_on_open(const vmrpc_caller* caller, void* user) {
    capi_notes* notes = user;
    ++notes->opened;
    notes->last_connection_number = caller->connection_number;
    *caller->state = calloc(1, sizeof(uint64_t));
}

void capi_on_close(const vmrpc_caller* caller, void* user) {
    capi_notes* notes = user;
    ++notes->closed;
    notes->calls_when_closed = *(const uint64_t*)*caller->state;
    free(*caller->state);
}
