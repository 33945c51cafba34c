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

static void count_told(void* context) {
    ++*(int*)context;
}

static int call_asynchronously(vmrpc_connection* to) {
    vmrpc_token tokens[40];
    for (int i = 0; i < 40; ++i) CHECK(capi_add_async(to, NULL, &tokens[i], i, 1000) == VMRPC_OK);
    for (int i = 39; i >= 0; --i) {
        int64_t sum = 0;
        double none = 0;
        CHECK(capi_sum_wait(&tokens[i], &none) == VMRPC_BAD_ARGUMENT);
        CHECK(strstr(VMRPC_LAST_ERROR_TEXT(), "capi_add") != NULL);
        CHECK(capi_add_wait(&tokens[i], NULL) == VMRPC_BAD_ARGUMENT);
        CHECK(VMRPC_WAIT_READY(&tokens[i], VMRPC_NO_LIMIT) == VMRPC_OK);
        CHECK(VMRPC_READY(&tokens[i]));
        CHECK(capi_add_wait(&tokens[i], &sum) == VMRPC_OK);
        CHECK(sum == 1000 + i);
        CHECK(capi_add_wait(&tokens[i], &sum) == VMRPC_BAD_ARGUMENT);
    }
    int32_t left = 1;
    int32_t right = 2;
    uint16_t values[] = {1, 2, 3};
    CHECK(capi_swap_async(to, NULL, &tokens[0], &left, &right) == VMRPC_OK);
    CHECK(capi_double_async(to, NULL, &tokens[1], values, 3) == VMRPC_OK);
    CHECK(capi_double_wait(&tokens[1]) == VMRPC_OK);
    CHECK(capi_swap_wait(&tokens[0]) == VMRPC_OK);
    CHECK(left == 2 && right == 1);
    CHECK(values[0] == 2 && values[1] == 4 && values[2] == 6);
    return 0;
}

static int tell_and_post(vmrpc_connection* to) {
    vmrpc_token token = {NULL, 0};
    CHECK(VMRPC_THEN(&token, count_told, NULL) == VMRPC_BAD_ARGUMENT);
    CHECK(VMRPC_CANCEL(&token) == VMRPC_BAD_ARGUMENT);
    VMRPC_DROP(&token);
    VMRPC_DROP(NULL);
    int told = 0;
    size_t count = 9;
    vmrpc_block block = {NULL, 0};
    CHECK(capi_squares_async(to, NULL, &token, 100) == VMRPC_OK);
    CHECK(VMRPC_THEN(&token, NULL, NULL) == VMRPC_BAD_ARGUMENT);
    CHECK(VMRPC_THEN(&token, count_told, &told) == VMRPC_OK);
    CHECK(VMRPC_THEN(&token, count_told, &told) == VMRPC_BAD_ARGUMENT);
    CHECK(VMRPC_CANCEL(&token) == VMRPC_OK);
    CHECK(VMRPC_POLL_ANSWERS(to, VMRPC_NO_LIMIT, &count) == VMRPC_OK);
    CHECK(told == 1 && count == 1);
    if (capi_squares_wait(&token, &block) == VMRPC_OK) CHECK(vmrpc_free(to, block.data) == VMRPC_OK);
    CHECK(VMRPC_POLL_ANSWERS(to, VMRPC_NO_LIMIT, &count) == VMRPC_OK && count == 0);
    CHECK(VMRPC_POLL_ANSWERS(NULL, 0, NULL) == VMRPC_BAD_ARGUMENT);
    CHECK(capi_nothing_post(to) == VMRPC_OK);
    CHECK(capi_squares_post(to, 100) == VMRPC_OK);
    CHECK(capi_nothing_call(to, NULL) == VMRPC_OK);
    char text[8];
    CHECK(VMRPC_LAST_ONE_WAY_ERROR(to, text, sizeof text) == VMRPC_OK && text[0] == 0);
    CHECK(capi_add_async(to, NULL, NULL, 1, 2) == VMRPC_BAD_ARGUMENT);
    CHECK(capi_add_async(NULL, NULL, &token, 1, 2) == VMRPC_BAD_ARGUMENT && token.call == NULL);
    CHECK(capi_nothing_post(NULL) == VMRPC_BAD_ARGUMENT);
    CHECK(capi_add_async(to, NULL, &token, 1, 2) == VMRPC_OK);
    VMRPC_DROP(&token);
    CHECK(token.call == NULL);
    return 0;
}

static int be_called_back(vmrpc_connection* to) {
    int64_t answer = 0;
    CHECK(capi_ask_call(to, NULL, &answer, 3) == VMRPC_OK && answer == -VMRPC_UNKNOWN_FUNCTION);
    CHECK(VMRPC_ADD_TO_CLIENT(to, capi_answer) == VMRPC_OK);
    CHECK(VMRPC_ADD_TO_CLIENT(to, capi_answer) == VMRPC_BAD_ARGUMENT);
    CHECK(VMRPC_ADD_TO_CLIENT(to, capi_answers) == VMRPC_OK);
    CHECK(capi_ask_call(to, NULL, &answer, 3) == VMRPC_OK && answer == 30 + 300 + 400);
    CHECK(capi_ask_call(to, NULL, &answer, -3) == VMRPC_OK && answer == -VMRPC_FUNCTION_FAILED);
    size_t served = 9;
    CHECK(VMRPC_SERVE(to, 0, &served) == VMRPC_OK && served == 0);
    CHECK(VMRPC_SERVE(NULL, 0, NULL) == VMRPC_BAD_ARGUMENT);
    CHECK(VMRPC_ADD_TO_CLIENT(NULL, capi_answer) == VMRPC_BAD_ARGUMENT);
    CHECK(VMRPC_HOLD(to) == VMRPC_BAD_ARGUMENT);
    CHECK(VMRPC_HOLD(NULL) == VMRPC_BAD_ARGUMENT);
    VMRPC_RELEASE(NULL);
    return 0;
}

int capi_call_all(vmrpc_connection* connection) {
    int line = call_with_values(connection);
    if (line == 0) line = call_with_spans(connection);
    if (line == 0) line = call_with_the_heap(connection);
    if (line == 0) line = call_asynchronously(connection);
    if (line == 0) line = tell_and_post(connection);
    if (line == 0) line = be_called_back(connection);
    return line;
}
