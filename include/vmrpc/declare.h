/* vmrpc: from one declaration a typed stub and its dispatch entry, with C's own calling convention.
 *
 *     VMRPC_DECLARE(double, mean, (SPAN, double, values))
 *
 * in a header that both sides include declares
 *
 *     double mean(const double *values, size_t values_count);     // the server implements it
 *     vmrpc_status mean_call(vmrpc_connection *connection, const vmrpc_call_options *options,
 *                            double *result, const double *values, size_t values_count);   // the client calls it
 *
 * and VMRPC_ADD(server, mean) serves it. Arguments:
 *
 *     in the declaration                 in the function                      how it travels
 *     (VALUE, T, name)                   T name                               copied; T without private pointers
 *     (INOUT, T, name)                   T *name                              copied there and back
 *     (SPAN, T, name)                    const T *name, size_t name_count     in place if it lies in the heap
 *     (SPAN_INOUT, T, name)              T *name, size_t name_count           likewise, the function may write
 *     (SPAN_IN_PLACE, T, name)           const T *name, size_t name_count     never copied, whoever the client is:
 *     (SPAN_INOUT_IN_PLACE, T, name)     T *name, size_t name_count           read each element once, it may change
 *     (POINTER, T, name)                 T *name                              an object in the heap, or NULL
 *
 * VMRPC_DECLARE_VOID(name, ...) is for functions without a result, VMRPC_DECLARE_BLOCK(T, name, ...) for those that
 * return a vmrpc_block of the heap, which then belongs to the caller.
 *
 * For calls that are not waited for at once there are also
 *
 *     vmrpc_status mean_async(vmrpc_connection *connection, const vmrpc_call_options *options, vmrpc_token *token,
 *                             const double *values, size_t values_count);     // starts one
 *     vmrpc_status mean_wait(vmrpc_token *token, double *result);             // waits for its answer and takes it
 *     vmrpc_status mean_post(vmrpc_connection *connection, const double *values, size_t values_count);  // no answer
 *
 * as vmrpc_impl_async, vmrpc_impl_wait and vmrpc_impl_post say; see VMRPC_READY and its neighbours. Without arguments:
 * VMRPC_NO_ARGUMENTS. Up to 8 arguments. A name and its signature are the function's identity; C++ has the same for
 * `double mean(std::span<const double>)`. */
#ifndef VMRPC_VMRPC_H
#include "vmrpc/vmrpc.h" /* which includes this file behind the types that it uses */
#endif
#ifndef VMRPC_DECLARE_H
#define VMRPC_DECLARE_H

/* A block of `count` elements of the heap, owned by who holds it: free `data` with vmrpc_free. */
typedef vmrpc_impl_span vmrpc_block;

/* NOLINTBEGIN(bugprone-macro-parentheses): what these macros make is declarations, types and names */
#ifdef __cplusplus
#include <type_traits>
#define VMRPC_IMPL_ALIGNOF(T) alignof(T)
#define VMRPC_IMPL_IS_NUMBER(T) (std::is_arithmetic_v<T> ? VMRPC_IMPL_ARITHMETIC : 0u)
#else
#define VMRPC_IMPL_ALIGNOF(T) _Alignof(T)
#define VMRPC_IMPL_IS_NUMBER(T)                                                                                 \
    _Generic((T*)0, _Bool * : 1u, char* : 1u, signed char* : 1u, unsigned char* : 1u, short* : 1u,              \
             unsigned short* : 1u, int* : 1u, unsigned* : 1u, long* : 1u, unsigned long* : 1u, long long* : 1u, \
             unsigned long long* : 1u, float* : 1u, double* : 1u, long double* : 1u, default : 0u)
#endif

/* --- each kind of argument: its parameters, its descriptor, how it is packed for a call and unpacked for a function
 * --- */
#define VMRPC_IMPL_PARAMETER_VALUE(T, name) T name
#define VMRPC_IMPL_PARAMETER_INOUT(T, name) T* name
#define VMRPC_IMPL_PARAMETER_SPAN(T, name) const T *name, size_t name##_count
#define VMRPC_IMPL_PARAMETER_SPAN_INOUT(T, name) T *name, size_t name##_count
#define VMRPC_IMPL_PARAMETER_SPAN_IN_PLACE(T, name) VMRPC_IMPL_PARAMETER_SPAN(T, name)
#define VMRPC_IMPL_PARAMETER_SPAN_INOUT_IN_PLACE(T, name) VMRPC_IMPL_PARAMETER_SPAN_INOUT(T, name)
#define VMRPC_IMPL_PARAMETER_POINTER(T, name) T* name

#define VMRPC_IMPL_DESCRIBE(category, T, flags) \
    { (uint16_t)(category), (uint16_t)(flags), (uint32_t)sizeof(T), (uint32_t)VMRPC_IMPL_ALIGNOF(T) }
#define VMRPC_IMPL_DESCRIBE_VALUE(T, name) VMRPC_IMPL_DESCRIBE(VMRPC_IMPL_VALUE, T, 0)
#define VMRPC_IMPL_DESCRIBE_INOUT(T, name) VMRPC_IMPL_DESCRIBE(VMRPC_IMPL_INOUT, T, 0)
#define VMRPC_IMPL_DESCRIBE_SPAN(T, name) VMRPC_IMPL_DESCRIBE(VMRPC_IMPL_SPAN, T, VMRPC_IMPL_IS_NUMBER(T))
#define VMRPC_IMPL_DESCRIBE_SPAN_INOUT(T, name) VMRPC_IMPL_DESCRIBE(VMRPC_IMPL_SPAN_INOUT, T, VMRPC_IMPL_IS_NUMBER(T))
#define VMRPC_IMPL_DESCRIBE_SPAN_IN_PLACE(T, name) \
    VMRPC_IMPL_DESCRIBE(VMRPC_IMPL_SPAN, T, VMRPC_IMPL_IS_NUMBER(T) | VMRPC_IMPL_IN_PLACE)
#define VMRPC_IMPL_DESCRIBE_SPAN_INOUT_IN_PLACE(T, name) \
    VMRPC_IMPL_DESCRIBE(VMRPC_IMPL_SPAN_INOUT, T, VMRPC_IMPL_IS_NUMBER(T) | VMRPC_IMPL_IN_PLACE)
#define VMRPC_IMPL_DESCRIBE_POINTER(T, name) VMRPC_IMPL_DESCRIBE(VMRPC_IMPL_POINTER, T, 0)

/* Packed: a local that the argument's entry in the array points to. */
#define VMRPC_IMPL_PACKED_SPAN(name) vmrpc_impl_span vmrpc_packed_##name = {(void*)(uintptr_t)(name), name##_count};
#define VMRPC_IMPL_LOCAL_VALUE(T, name)
#define VMRPC_IMPL_LOCAL_INOUT(T, name)
#define VMRPC_IMPL_LOCAL_SPAN(T, name) VMRPC_IMPL_PACKED_SPAN(name)
#define VMRPC_IMPL_LOCAL_SPAN_INOUT(T, name) VMRPC_IMPL_PACKED_SPAN(name)
#define VMRPC_IMPL_LOCAL_SPAN_IN_PLACE(T, name) VMRPC_IMPL_PACKED_SPAN(name)
#define VMRPC_IMPL_LOCAL_SPAN_INOUT_IN_PLACE(T, name) VMRPC_IMPL_PACKED_SPAN(name)
#define VMRPC_IMPL_LOCAL_POINTER(T, name)

#define VMRPC_IMPL_PACK_VALUE(T, name) (void*)&name
#define VMRPC_IMPL_PACK_INOUT(T, name) (void*)name
#define VMRPC_IMPL_PACK_SPAN(T, name) (void*)&vmrpc_packed_##name
#define VMRPC_IMPL_PACK_SPAN_INOUT(T, name) (void*)&vmrpc_packed_##name
#define VMRPC_IMPL_PACK_SPAN_IN_PLACE(T, name) (void*)&vmrpc_packed_##name
#define VMRPC_IMPL_PACK_SPAN_INOUT_IN_PLACE(T, name) (void*)&vmrpc_packed_##name
#define VMRPC_IMPL_PACK_POINTER(T, name) (void*)&name

/* Unpacked: `arguments` is walked with ++, in the order of the initialisers. */
#define VMRPC_IMPL_UNPACK_SPAN_OF(T, name)                    \
    T* name = (T*)((vmrpc_impl_span*)*vmrpc_arguments)->data; \
    size_t name##_count = ((vmrpc_impl_span*)*vmrpc_arguments++)->count;
#define VMRPC_IMPL_UNPACK_VALUE(T, name) T name = *(T*)*vmrpc_arguments++;
#define VMRPC_IMPL_UNPACK_INOUT(T, name) T* name = (T*)*vmrpc_arguments++;
#define VMRPC_IMPL_UNPACK_SPAN(T, name) VMRPC_IMPL_UNPACK_SPAN_OF(const T, name)
#define VMRPC_IMPL_UNPACK_SPAN_INOUT(T, name) VMRPC_IMPL_UNPACK_SPAN_OF(T, name)
#define VMRPC_IMPL_UNPACK_SPAN_IN_PLACE(T, name) VMRPC_IMPL_UNPACK_SPAN_OF(const T, name)
#define VMRPC_IMPL_UNPACK_SPAN_INOUT_IN_PLACE(T, name) VMRPC_IMPL_UNPACK_SPAN_OF(T, name)
#define VMRPC_IMPL_UNPACK_POINTER(T, name) T* name = *(T**)*vmrpc_arguments++;

#define VMRPC_IMPL_FORWARD_VALUE(T, name) name
#define VMRPC_IMPL_FORWARD_INOUT(T, name) name
#define VMRPC_IMPL_FORWARD_SPAN(T, name) name, name##_count
#define VMRPC_IMPL_FORWARD_SPAN_INOUT(T, name) name, name##_count
#define VMRPC_IMPL_FORWARD_SPAN_IN_PLACE(T, name) name, name##_count
#define VMRPC_IMPL_FORWARD_SPAN_INOUT_IN_PLACE(T, name) name, name##_count
#define VMRPC_IMPL_FORWARD_POINTER(T, name) name

/* --- applying one of these to each argument, with or without commas --- */
#define VMRPC_IMPL_PARAMETER(kind, T, name) VMRPC_IMPL_PARAMETER_##kind(T, name)
#define VMRPC_IMPL_DESCRIPTOR(kind, T, name) VMRPC_IMPL_DESCRIBE_##kind(T, name)
#define VMRPC_IMPL_LOCAL(kind, T, name) VMRPC_IMPL_LOCAL_##kind(T, name)
#define VMRPC_IMPL_PACK(kind, T, name) VMRPC_IMPL_PACK_##kind(T, name)
#define VMRPC_IMPL_UNPACK(kind, T, name) VMRPC_IMPL_UNPACK_##kind(T, name)
#define VMRPC_IMPL_FORWARD(kind, T, name) VMRPC_IMPL_FORWARD_##kind(T, name)

#define VMRPC_IMPL_EACH1(apply, comma, a) apply a
#define VMRPC_IMPL_EACH2(apply, comma, a, ...) apply a comma() VMRPC_IMPL_EACH1(apply, comma, __VA_ARGS__)
#define VMRPC_IMPL_EACH3(apply, comma, a, ...) apply a comma() VMRPC_IMPL_EACH2(apply, comma, __VA_ARGS__)
#define VMRPC_IMPL_EACH4(apply, comma, a, ...) apply a comma() VMRPC_IMPL_EACH3(apply, comma, __VA_ARGS__)
#define VMRPC_IMPL_EACH5(apply, comma, a, ...) apply a comma() VMRPC_IMPL_EACH4(apply, comma, __VA_ARGS__)
#define VMRPC_IMPL_EACH6(apply, comma, a, ...) apply a comma() VMRPC_IMPL_EACH5(apply, comma, __VA_ARGS__)
#define VMRPC_IMPL_EACH7(apply, comma, a, ...) apply a comma() VMRPC_IMPL_EACH6(apply, comma, __VA_ARGS__)
#define VMRPC_IMPL_EACH8(apply, comma, a, ...) apply a comma() VMRPC_IMPL_EACH7(apply, comma, __VA_ARGS__)
#define VMRPC_IMPL_COUNT_OF(a, b, c, d, e, f, g, h, n, ...) n
#define VMRPC_IMPL_COUNT(...) VMRPC_IMPL_COUNT_OF(__VA_ARGS__, 8, 7, 6, 5, 4, 3, 2, 1, 0)
#define VMRPC_IMPL_JOIN_TOKENS(a, b) a##b
#define VMRPC_IMPL_JOIN(a, b) VMRPC_IMPL_JOIN_TOKENS(a, b)
#define VMRPC_IMPL_COMMA() ,
#define VMRPC_IMPL_NOTHING()
#define VMRPC_IMPL_EACH(apply, comma, ...) \
    VMRPC_IMPL_JOIN(VMRPC_IMPL_EACH, VMRPC_IMPL_COUNT(__VA_ARGS__))(apply, comma, __VA_ARGS__)

/* --- no arguments at all: one argument of a kind that leaves nothing behind --- */
#define VMRPC_NO_ARGUMENTS (NONE, void, none)
#define VMRPC_IMPL_PARAMETER_NONE(T, name) void
#define VMRPC_IMPL_DESCRIBE_NONE(T, name) \
    { 0, 0, 0, 0 }
#define VMRPC_IMPL_LOCAL_NONE(T, name)
#define VMRPC_IMPL_PACK_NONE(T, name) NULL
#define VMRPC_IMPL_UNPACK_NONE(T, name) (void)vmrpc_arguments;
#define VMRPC_IMPL_FORWARD_NONE(T, name)

/* Parameters that follow others: ", T name", or nothing. */
#define VMRPC_IMPL_NEXT_NONE(T, name)
#define VMRPC_IMPL_NEXT_VALUE(T, name) , VMRPC_IMPL_PARAMETER_VALUE(T, name)
#define VMRPC_IMPL_NEXT_INOUT(T, name) , VMRPC_IMPL_PARAMETER_INOUT(T, name)
#define VMRPC_IMPL_NEXT_SPAN(T, name) , VMRPC_IMPL_PARAMETER_SPAN(T, name)
#define VMRPC_IMPL_NEXT_SPAN_INOUT(T, name) , VMRPC_IMPL_PARAMETER_SPAN_INOUT(T, name)
#define VMRPC_IMPL_NEXT_SPAN_IN_PLACE(T, name) , VMRPC_IMPL_PARAMETER_SPAN(T, name)
#define VMRPC_IMPL_NEXT_SPAN_INOUT_IN_PLACE(T, name) , VMRPC_IMPL_PARAMETER_SPAN_INOUT(T, name)
#define VMRPC_IMPL_NEXT_POINTER(T, name) , VMRPC_IMPL_PARAMETER_POINTER(T, name)
#define VMRPC_IMPL_NEXT(kind, T, name) VMRPC_IMPL_NEXT_##kind(T, name)

/* How many arguments an entry of the list stands for. */
#define VMRPC_IMPL_ONE_NONE +0
#define VMRPC_IMPL_ONE_VALUE +1
#define VMRPC_IMPL_ONE_INOUT +1
#define VMRPC_IMPL_ONE_SPAN +1
#define VMRPC_IMPL_ONE_SPAN_INOUT +1
#define VMRPC_IMPL_ONE_SPAN_IN_PLACE +1
#define VMRPC_IMPL_ONE_SPAN_INOUT_IN_PLACE +1
#define VMRPC_IMPL_ONE_POINTER +1
#define VMRPC_IMPL_ONE(kind, T, name) VMRPC_IMPL_ONE_##kind

#ifdef __cplusplus
#define VMRPC_IMPL_C_LINKAGE extern "C"
#else
#define VMRPC_IMPL_C_LINKAGE extern
#endif
#define VMRPC_IMPL_UNUSED __attribute__((unused))

/* --- what a declaration becomes --- */
#define VMRPC_IMPL_FUNCTION(name, result_descriptor, ...)                           \
    VMRPC_IMPL_UNUSED static const vmrpc_impl_argument name##_vmrpc_arguments[] = { \
        VMRPC_IMPL_EACH(VMRPC_IMPL_DESCRIPTOR, VMRPC_IMPL_COMMA, __VA_ARGS__)};     \
    VMRPC_IMPL_UNUSED static vmrpc_impl_function name##_vmrpc_function = {          \
        sizeof(vmrpc_impl_function),                                                \
        #name,                                                                      \
        0,                                                                          \
        0 VMRPC_IMPL_EACH(VMRPC_IMPL_ONE, VMRPC_IMPL_NOTHING, __VA_ARGS__),         \
        name##_vmrpc_arguments,                                                     \
        result_descriptor,                                                          \
        0};

#define VMRPC_IMPL_STUB(name, result_parameter, result_pointer, ...)                                              \
    VMRPC_IMPL_UNUSED static inline vmrpc_status name##_call(                                                     \
        vmrpc_connection* vmrpc_to, const vmrpc_call_options* vmrpc_options result_parameter VMRPC_IMPL_EACH(     \
                                        VMRPC_IMPL_NEXT, VMRPC_IMPL_NOTHING, __VA_ARGS__)) {                      \
        VMRPC_IMPL_EACH(VMRPC_IMPL_LOCAL, VMRPC_IMPL_NOTHING, __VA_ARGS__)                                        \
        void* const vmrpc_arguments[] = {VMRPC_IMPL_EACH(VMRPC_IMPL_PACK, VMRPC_IMPL_COMMA, __VA_ARGS__)};        \
        return vmrpc_impl_call(vmrpc_to, &name##_vmrpc_function, vmrpc_options, vmrpc_arguments, result_pointer); \
    }

#define VMRPC_IMPL_ASYNC_STUBS(name, result_parameter, result_pointer, ...)                                       \
    VMRPC_IMPL_UNUSED static inline vmrpc_status name##_async(                                                    \
        vmrpc_connection* vmrpc_to, const vmrpc_call_options* vmrpc_options,                                      \
        vmrpc_token* vmrpc_started VMRPC_IMPL_EACH(VMRPC_IMPL_NEXT, VMRPC_IMPL_NOTHING, __VA_ARGS__)) {           \
        VMRPC_IMPL_EACH(VMRPC_IMPL_LOCAL, VMRPC_IMPL_NOTHING, __VA_ARGS__)                                        \
        void* const vmrpc_arguments[] = {VMRPC_IMPL_EACH(VMRPC_IMPL_PACK, VMRPC_IMPL_COMMA, __VA_ARGS__)};        \
        return vmrpc_impl_async(vmrpc_to, &name##_vmrpc_function, vmrpc_options, vmrpc_arguments, vmrpc_started); \
    }                                                                                                             \
    VMRPC_IMPL_UNUSED static inline vmrpc_status name##_wait(vmrpc_token* vmrpc_started result_parameter) {       \
        return vmrpc_impl_wait(vmrpc_started, &name##_vmrpc_function, result_pointer);                            \
    }                                                                                                             \
    VMRPC_IMPL_UNUSED static inline vmrpc_status name##_post(                                                     \
        vmrpc_connection* vmrpc_to VMRPC_IMPL_EACH(VMRPC_IMPL_NEXT, VMRPC_IMPL_NOTHING, __VA_ARGS__)) {           \
        VMRPC_IMPL_EACH(VMRPC_IMPL_LOCAL, VMRPC_IMPL_NOTHING, __VA_ARGS__)                                        \
        void* const vmrpc_arguments[] = {VMRPC_IMPL_EACH(VMRPC_IMPL_PACK, VMRPC_IMPL_COMMA, __VA_ARGS__)};        \
        return vmrpc_impl_post(vmrpc_to, &name##_vmrpc_function, vmrpc_arguments);                                \
    }

#define VMRPC_IMPL_DISPATCH(name, assign, ...)                                                                         \
    VMRPC_IMPL_UNUSED static inline vmrpc_status name##_vmrpc_dispatch(void* vmrpc_user, void* const* vmrpc_arguments, \
                                                                       void* vmrpc_result, char* vmrpc_error_text,     \
                                                                       size_t vmrpc_error_bytes) {                     \
        VMRPC_IMPL_EACH(VMRPC_IMPL_UNPACK, VMRPC_IMPL_NOTHING, __VA_ARGS__)                                            \
        (void)vmrpc_user, (void)vmrpc_result, (void)vmrpc_error_text, (void)vmrpc_error_bytes;                         \
        assign name(VMRPC_IMPL_EACH(VMRPC_IMPL_FORWARD, VMRPC_IMPL_COMMA, __VA_ARGS__));                               \
        return VMRPC_OK;                                                                                               \
    }

#define VMRPC_IMPL_RESULT_VALUE(T) VMRPC_IMPL_DESCRIBE(VMRPC_IMPL_VALUE, T, 0)
#define VMRPC_IMPL_RESULT_BLOCK(T) VMRPC_IMPL_DESCRIBE(VMRPC_IMPL_BLOCK, T, 0)
#define VMRPC_IMPL_RESULT_NONE \
    { 0, 0, 0, 0 }
/* Keeps the commas of a descriptor together on its way through another macro. */
#define VMRPC_IMPL_BRACED(...) __VA_ARGS__

#define VMRPC_DECLARE(T, name, ...)                                                                    \
    VMRPC_IMPL_C_LINKAGE T name(VMRPC_IMPL_EACH(VMRPC_IMPL_PARAMETER, VMRPC_IMPL_COMMA, __VA_ARGS__)); \
    VMRPC_IMPL_FUNCTION(name, VMRPC_IMPL_BRACED(VMRPC_IMPL_RESULT_VALUE(T)), __VA_ARGS__)              \
    VMRPC_IMPL_STUB(name, VMRPC_IMPL_BRACED(, T* vmrpc_result), vmrpc_result, __VA_ARGS__)             \
    VMRPC_IMPL_ASYNC_STUBS(name, VMRPC_IMPL_BRACED(, T* vmrpc_result), vmrpc_result, __VA_ARGS__)      \
    VMRPC_IMPL_DISPATCH(name, *(T*)vmrpc_result =, __VA_ARGS__)

#define VMRPC_DECLARE_VOID(name, ...)                                                                     \
    VMRPC_IMPL_C_LINKAGE void name(VMRPC_IMPL_EACH(VMRPC_IMPL_PARAMETER, VMRPC_IMPL_COMMA, __VA_ARGS__)); \
    VMRPC_IMPL_FUNCTION(name, VMRPC_IMPL_BRACED(VMRPC_IMPL_RESULT_NONE), __VA_ARGS__)                     \
    VMRPC_IMPL_STUB(name, VMRPC_IMPL_NOTHING(), NULL, __VA_ARGS__)                                        \
    VMRPC_IMPL_ASYNC_STUBS(name, VMRPC_IMPL_NOTHING(), NULL, __VA_ARGS__)                                 \
    VMRPC_IMPL_DISPATCH(name, VMRPC_IMPL_NOTHING(), __VA_ARGS__)

#define VMRPC_DECLARE_BLOCK(T, name, ...)                                                                        \
    VMRPC_IMPL_C_LINKAGE vmrpc_block name(VMRPC_IMPL_EACH(VMRPC_IMPL_PARAMETER, VMRPC_IMPL_COMMA, __VA_ARGS__)); \
    VMRPC_IMPL_FUNCTION(name, VMRPC_IMPL_BRACED(VMRPC_IMPL_RESULT_BLOCK(T)), __VA_ARGS__)                        \
    VMRPC_IMPL_STUB(name, VMRPC_IMPL_BRACED(, vmrpc_block* vmrpc_result), vmrpc_result, __VA_ARGS__)             \
    VMRPC_IMPL_ASYNC_STUBS(name, VMRPC_IMPL_BRACED(, vmrpc_block* vmrpc_result), vmrpc_result, __VA_ARGS__)      \
    VMRPC_IMPL_DISPATCH(name, *(vmrpc_block*)vmrpc_result =, __VA_ARGS__)

/* Serves a function that one of the above declared; the program implements it under its own name. Returns as
 * vmrpc_impl_add. */
#define VMRPC_ADD(server, name) VMRPC_ADD_WITH(server, name, NULL)
/* The same with a vmrpc_add_options *, or NULL: on a worker, in order, so many at a time. */
#define VMRPC_ADD_WITH(server, name, options) \
    vmrpc_impl_add(server, &name##_vmrpc_function, name##_vmrpc_dispatch, NULL, NULL, options)
/* The same on a client's connection: its server may call the function from then on. Returns as
 * vmrpc_impl_add_to_client. */
#define VMRPC_ADD_TO_CLIENT(connection, name) \
    vmrpc_impl_add_to_client(connection, &name##_vmrpc_function, name##_vmrpc_dispatch, NULL, NULL)
/* Checks ahead of the first call that the server has the function, with the same signature. */
#define VMRPC_REQUIRE(connection, name) vmrpc_impl_require(connection, &name##_vmrpc_function)

/* NOLINTEND(bugprone-macro-parentheses) */

#endif
