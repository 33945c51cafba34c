/* Three structures of plain C, as any program has them: they know malloc, free and pointers, and nothing of vmrpc. */
#ifndef STRUCTURES_H
#define STRUCTURES_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A singly linked list of numbers, in the order in which they were added. */
struct list_node {
    struct list_node* next;
    int64_t value;
};
struct list {
    struct list_node* first;
    struct list_node* last;
    size_t count;
};
struct list* list_new(void);
int list_add(struct list* list, int64_t value); /* 0, or -1 without memory; likewise below */
int64_t list_sum(const struct list* list);
void list_scale(struct list* list, int64_t factor);
void list_free(struct list* list);

/* A binary search tree from numbers to numbers, not balanced. */
struct tree_node {
    struct tree_node* left;
    struct tree_node* right;
    int64_t key;
    int64_t value;
};
struct tree {
    struct tree_node* root;
    size_t count;
};
struct tree* tree_new(void);
int tree_put(struct tree* tree, int64_t key, int64_t value);
const int64_t* tree_get(const struct tree* tree, int64_t key);
int64_t tree_sum(const struct tree* tree);
int tree_remove(struct tree* tree, int64_t key); /* whether it was there */
void tree_free(struct tree* tree);

/* A hash table from texts, of which it keeps copies, to numbers; grows. */
struct hash_entry {
    struct hash_entry* next;
    char* key;
    int64_t value;
};
struct hash {
    struct hash_entry** buckets;
    size_t bucket_count;
    size_t count;
};
struct hash* hash_new(void);
int hash_put(struct hash* hash, const char* key, int64_t value);
const int64_t* hash_get(const struct hash* hash, const char* key);
int64_t hash_sum(const struct hash* hash);
int hash_remove(struct hash* hash, const char* key); /* whether it was there */
void hash_free(struct hash* hash);

#ifdef __cplusplus
}
#endif

#endif
