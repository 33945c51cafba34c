/* The three structures where the two sides have the memory at different addresses: pointers in them are stored as the
 * client has them, and whoever follows or stores one shifts it. `shift` is what to add to a stored pointer to get one
 * of this side: 0 in the client, vmrpc_offset in the server. `connection` as for vmrpc_malloc. */
#ifndef FAR_H
#define FAR_H

#include "structures.h"

#include <vmrpc/vmrpc.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct far_side {
    vmrpc_connection* connection;
    ptrdiff_t shift;
} far_side;

/* Blocks, cleared; NULL without memory. */
void* far_new(const far_side* side, size_t bytes);

int far_list_add(const far_side* side, struct list* list, int64_t value);
int64_t far_list_sum(const far_side* side, const struct list* list);
void far_list_scale(const far_side* side, struct list* list, int64_t factor);
void far_list_free(const far_side* side, struct list* list);

int far_tree_put(const far_side* side, struct tree* tree, int64_t key, int64_t value);
int64_t far_tree_sum(const far_side* side, const struct tree* tree);
void far_tree_free(const far_side* side, struct tree* tree);

/* With as many buckets as its first entry makes. */
int far_hash_put(const far_side* side, struct hash* hash, const char* key, int64_t value);
int64_t far_hash_sum(const far_side* side, const struct hash* hash);
void far_hash_free(const far_side* side, struct hash* hash);

#ifdef __cplusplus
}
#endif

#endif
