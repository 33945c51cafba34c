/* Functions that signature_in_c.c declares in C and signature_test.cpp in C++: both must come to the same string. */
#ifndef VMRPC_TESTS_SIGNATURE_IN_C_H
#define VMRPC_TESTS_SIGNATURE_IN_C_H

#include <vmrpc/vmrpc.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct signature_pair {
    int64_t count;
    char tag;
} signature_pair;

/* C's declaration of the function with that name; NULL if it has none. */
vmrpc_impl_function* signature_declared_in_c(const char* name);

#ifdef __cplusplus
}
#endif

#endif
