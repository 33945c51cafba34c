/* The C API from C11: a client's calls. */
#include "capi_functions.h"

#include <string.h>

/* Leaves with the number of the line that went wrong. */
#define CHECK(condition)                   \
    do {                                   \
        if (!(condition)) return __LINE__; \
    } while (0)

static int call_with_values(vmrpc_connection* to) {
    int64_t sum = 0;
    CHECK(capi_add_call(to, NULL, &sum, -5, INT64_C(1) << 40) == VMRPC_OK);
    CHECK(sum == (INT64_C(1) << 40) - 5);
    const capi_point point = {3, 0.5};
    capi_point mirrored = {0, 0};
    CHECK(capi_mirror_call(to, NULL, &mirrored, point) == VMRPC_OK);
    CHECK(mirrored.x == -3 && mirrored.y == -0.5);
    int32_t left = 1;
    int32_t right = 2;
    CHECK(capi_swap_call(to, NULL, &left, &right) == VMRPC_OK);
    CHECK(left == 2 && right == 1);
    CHECK(capi_nothing_call(to, NULL) == VMRPC_OK);
    double all = 0;
    CHECK(capi_eight_call(to, NULL, &all, 1, 2, 3, 4, 0.5f, 0.25, point, "\1\2", 2) == VMRPC_OK);
    CHECK(all == 1 + 2 + 3 + 4 + 0.5 + 0.25 + 3 + 0.5 + 1 + 2);
    return 0;
}

static int call_with_spans(vmrpc_connection* to) {
    const double outside[] = {1, 2, 3.5};
    double sum = 0;
    CHECK(capi_sum_call(to, NULL, &sum, outside, 3) == VMRPC_OK);
    CHECK(sum == 6.5);
    CHECK(capi_sum_call(to, NULL, &sum, NULL, 0) == VMRPC_OK);
    CHECK(sum == 0);
    uint16_t values[] = {1, 2, 3};
    CHECK(capi_double_call(to, NULL, values, 3) == VMRPC_OK);
    CHECK(values[0] == 2 && values[1] == 4 && values[2] == 6);
    char* bytes = vmrpc_malloc(to, 100, NULL);
    CHECK(bytes != NULL);
    uint64_t address = 0;
    CHECK(capi_address_call(to, NULL, &address, bytes, 100) == VMRPC_OK);
    CHECK((uintptr_t)address == (uintptr_t)bytes - (uintptr_t)vmrpc_offset(to, VMRPC_DEFAULT_HEAP));
    CHECK(capi_fill_in_place_call(to, NULL, bytes, 100, 'x') == VMRPC_OK);
    CHECK(bytes[0] == 'x' && bytes[99] == 'x');
    CHECK(vmrpc_free(to, bytes) == VMRPC_OK);
    return 0;
}

static int call_with_the_heap(vmrpc_connection* to) {
    capi_point* point = vmrpc_malloc(to, sizeof *point, NULL);
    CHECK(point != NULL);
    *point = (capi_point){10, 0};
    int32_t x = 0;
    CHECK(capi_move_call(to, NULL, &x, point, 5) == VMRPC_OK);
    CHECK(x == 15 && point->x == 15);
    CHECK(capi_move_call(to, NULL, &x, NULL, 5) == VMRPC_OK);
    CHECK(x == -1);
    capi_point outside = {1, 2};
    CHECK(capi_move_call(to, NULL, &x, &outside, 5) == VMRPC_OUTSIDE_HEAP);
    CHECK(strstr(VMRPC_LAST_ERROR_TEXT(), "vmrpc_malloc") != NULL);
    int32_t freed = -1;
    CHECK(capi_free_call(to, NULL, &freed, point) == VMRPC_OK);
    CHECK(freed == VMRPC_OK);
    vmrpc_block block = {NULL, 0};
    CHECK(capi_squares_call(to, NULL, &block, 100) == VMRPC_OK);
    CHECK(block.count == 100 && ((uint32_t*)block.data)[99] == 9801);
    CHECK(vmrpc_free(to, block.data) == VMRPC_OK);
    return 0;
}

int capi_call_all(vmrpc_connection* connection) {
    int line = call_with_values(connection);
    if (line == 0) line = call_with_spans(connection);
    if (line == 0) line = call_with_the_heap(connection);
    return line;
}
