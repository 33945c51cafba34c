#include "far.h"

#include <string.h>

/* A stored pointer as this side follows it, and one of this side's as it is stored. */
static void* here(const far_side* side, const void* stored) {
    return stored == NULL ? NULL : (char*)stored + side->shift;
}
static void* stored(const far_side* side, const void* pointer) {
    return pointer == NULL ? NULL : (char*)pointer - side->shift;
}

void* far_new(const far_side* side, size_t bytes) {
    void* block = vmrpc_malloc(side->connection, bytes, NULL);
    return block == NULL ? NULL : memset(block, 0, bytes);
}

int far_list_add(const far_side* side, struct list* list, int64_t value) {
    struct list_node* node = far_new(side, sizeof *node);
    struct list_node* last = here(side, list->last);
    if (node == NULL) return -1;
    node->value = value;
    list->last = stored(side, node);
    if (last == NULL)
        list->first = list->last;
    else
        last->next = list->last;
    ++list->count;
    return 0;
}

int64_t far_list_sum(const far_side* side, const struct list* list) {
    int64_t sum = 0;
    for (const struct list_node* node = here(side, list->first); node != NULL; node = here(side, node->next))
        sum += node->value;
    return sum;
}

void far_list_scale(const far_side* side, struct list* list, int64_t factor) {
    for (struct list_node* node = here(side, list->first); node != NULL; node = here(side, node->next))
        node->value *= factor;
}

void far_list_free(const far_side* side, struct list* list) {
    struct list_node* node = here(side, list->first);
    while (node != NULL) {
        struct list_node* next = here(side, node->next);
        vmrpc_free(side->connection, node);
        node = next;
    }
    vmrpc_free(side->connection, list);
}

int far_tree_put(const far_side* side, struct tree* tree, int64_t key, int64_t value) {
    struct tree_node** place = &tree->root;
    struct tree_node* node = here(side, *place);
    while (node != NULL && node->key != key) {
        place = key < node->key ? &node->left : &node->right;
        node = here(side, *place);
    }
    if (node == NULL) {
        node = far_new(side, sizeof *node);
        if (node == NULL) return -1;
        node->key = key;
        *place = stored(side, node);
        ++tree->count;
    }
    node->value = value;
    return 0;
}

static int64_t sum_below(const far_side* side, const struct tree_node* node) {
    return node == NULL
               ? 0
               : node->value + sum_below(side, here(side, node->left)) + sum_below(side, here(side, node->right));
}

int64_t far_tree_sum(const far_side* side, const struct tree* tree) {
    return sum_below(side, here(side, tree->root));
}

static void free_below(const far_side* side, struct tree_node* node) {
    if (node == NULL) return;
    free_below(side, here(side, node->left));
    free_below(side, here(side, node->right));
    vmrpc_free(side->connection, node);
}

void far_tree_free(const far_side* side, struct tree* tree) {
    free_below(side, here(side, tree->root));
    vmrpc_free(side->connection, tree);
}

static struct hash_entry** bucket_of(const far_side* side, const struct hash* hash, const char* key) {
    size_t number = 5381;
    for (; *key != '\0'; ++key) number = number * 33 + (unsigned char)*key;
    struct hash_entry** buckets = here(side, hash->buckets);
    return &buckets[number % hash->bucket_count];
}

int far_hash_put(const far_side* side, struct hash* hash, const char* key, int64_t value) {
    if (hash->buckets == NULL) {
        void* buckets = far_new(side, 64 * sizeof *hash->buckets);
        if (buckets == NULL) return -1;
        hash->buckets = stored(side, buckets);
        hash->bucket_count = 64;
    }
    struct hash_entry** place = bucket_of(side, hash, key);
    struct hash_entry* entry = here(side, *place);
    while (entry != NULL && strcmp(here(side, entry->key), key) != 0) {
        place = &entry->next;
        entry = here(side, *place);
    }
    if (entry == NULL) {
        entry = far_new(side, sizeof *entry);
        char* copy = far_new(side, strlen(key) + 1);
        if (entry == NULL || copy == NULL) return -1;
        strcpy(copy, key);
        entry->key = stored(side, copy);
        *place = stored(side, entry);
        ++hash->count;
    }
    entry->value = value;
    return 0;
}

int64_t far_hash_sum(const far_side* side, const struct hash* hash) {
    struct hash_entry** buckets = here(side, hash->buckets);
    int64_t sum = 0;
    for (size_t i = 0; i < hash->bucket_count; ++i)
        for (const struct hash_entry* entry = here(side, buckets[i]); entry != NULL; entry = here(side, entry->next))
            sum += entry->value;
    return sum;
}

void far_hash_free(const far_side* side, struct hash* hash) {
    struct hash_entry** buckets = here(side, hash->buckets);
    for (size_t i = 0; i < hash->bucket_count; ++i) {
        struct hash_entry* entry = here(side, buckets[i]);
        while (entry != NULL) {
            struct hash_entry* next = here(side, entry->next);
            vmrpc_free(side->connection, here(side, entry->key));
            vmrpc_free(side->connection, entry);
            entry = next;
        }
    }
    vmrpc_free(side->connection, buckets);
    vmrpc_free(side->connection, hash);
}
