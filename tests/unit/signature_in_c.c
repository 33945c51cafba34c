#include "signature_in_c.h"

#include <string.h>

VMRPC_DECLARE(double, signature_mean, (SPAN, double, values))
VMRPC_DECLARE_VOID(signature_scale, (SPAN_INOUT, float, values), (VALUE, double, factor))
VMRPC_DECLARE(signature_pair, signature_count, (VALUE, signature_pair, start), (SPAN, char, text))
VMRPC_DECLARE_VOID(signature_swap, (INOUT, int32_t, left), (INOUT, signature_pair, right))
VMRPC_DECLARE(char, signature_tag, (POINTER, signature_pair, pair))
VMRPC_DECLARE_BLOCK(uint16_t, signature_make, (VALUE, uint64_t, count))
VMRPC_DECLARE_VOID(signature_nothing, VMRPC_NO_ARGUMENTS)
VMRPC_DECLARE(int, signature_in_place, (SPAN_IN_PLACE, signature_pair, pairs), (SPAN_INOUT_IN_PLACE, char, text))
VMRPC_DECLARE(int, signature_eight, (VALUE, int8_t, a), (VALUE, int16_t, b), (VALUE, int32_t, c), (VALUE, int64_t, d),
              (VALUE, float, e), (VALUE, double, f), (VALUE, char, g), (VALUE, uint64_t, h))

vmrpc_impl_function* signature_declared_in_c(const char* name) {
    vmrpc_impl_function* const all[] = {
        &signature_mean_vmrpc_function,    &signature_scale_vmrpc_function,    &signature_count_vmrpc_function,
        &signature_swap_vmrpc_function,    &signature_tag_vmrpc_function,      &signature_make_vmrpc_function,
        &signature_nothing_vmrpc_function, &signature_in_place_vmrpc_function, &signature_eight_vmrpc_function};
    for (size_t i = 0; i < sizeof all / sizeof *all; ++i)
        if (strcmp(all[i]->name, name) == 0) return all[i];
    return NULL;
}
