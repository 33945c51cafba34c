#include "structures.h"

#include <stdlib.h>
#include <string.h>

static size_t hash_of(const char* key) {
    uint64_t hash = 1469598103934665603u;
    for (; *key != '\0'; ++key) hash = (hash ^ (unsigned char)*key) * 1099511628211u;
    return (size_t)hash;
}

static struct hash_entry** new_buckets(size_t count) {
    struct hash_entry** buckets = malloc(count * sizeof *buckets);
    for (size_t i = 0; buckets != NULL && i < count; ++i) buckets[i] = NULL;
    return buckets;
}

struct hash* hash_new(void) {
    struct hash* hash = malloc(sizeof *hash);
    if (hash == NULL) return NULL;
    hash->bucket_count = 8;
    hash->count = 0;
    hash->buckets = new_buckets(hash->bucket_count);
    if (hash->buckets != NULL) return hash;
    free(hash);
    return NULL;
}

/* The place that points to the entry with the key, or would. */
static struct hash_entry** place_of(const struct hash* hash, const char* key) {
    struct hash_entry** place = &hash->buckets[hash_of(key) % hash->bucket_count];
    while (*place != NULL && strcmp((*place)->key, key) != 0) place = &(*place)->next;
    return place;
}

static int grow(struct hash* hash) {
    const size_t old_count = hash->bucket_count;
    struct hash_entry** old = hash->buckets;
    struct hash_entry** buckets = new_buckets(2 * old_count);
    if (buckets == NULL) return -1;
    hash->buckets = buckets;
    hash->bucket_count = 2 * old_count;
    for (size_t i = 0; i < old_count; ++i) {
        while (old[i] != NULL) {
            struct hash_entry* entry = old[i];
            old[i] = entry->next;
            entry->next = NULL;
            *place_of(hash, entry->key) = entry;
        }
    }
    free(old);
    return 0;
}

static struct hash_entry* new_entry(const char* key) {
    struct hash_entry* entry = malloc(sizeof *entry);
    if (entry == NULL) return NULL;
    entry->next = NULL;
    entry->key = malloc(strlen(key) + 1);
    if (entry->key != NULL) {
        strcpy(entry->key, key);
        return entry;
    }
    free(entry);
    return NULL;
}

int hash_put(struct hash* hash, const char* key, int64_t value) {
    struct hash_entry** place = place_of(hash, key);
    if (*place == NULL) {
        if (hash->count >= hash->bucket_count) {
            if (grow(hash) != 0) return -1;
            place = place_of(hash, key);
        }
        *place = new_entry(key);
        if (*place == NULL) return -1;
        ++hash->count;
    }
    (*place)->value = value;
    return 0;
}

const int64_t* hash_get(const struct hash* hash, const char* key) {
    const struct hash_entry* entry = *place_of(hash, key);
    return entry == NULL ? NULL : &entry->value;
}

int64_t hash_sum(const struct hash* hash) {
    int64_t sum = 0;
    for (size_t i = 0; i < hash->bucket_count; ++i)
        for (const struct hash_entry* entry = hash->buckets[i]; entry != NULL; entry = entry->next) sum += entry->value;
    return sum;
}

static void free_entry(struct hash_entry* entry) {
    free(entry->key);
    free(entry);
}

int hash_remove(struct hash* hash, const char* key) {
    struct hash_entry** place = place_of(hash, key);
    struct hash_entry* entry = *place;
    if (entry == NULL) return 0;
    *place = entry->next;
    free_entry(entry);
    --hash->count;
    return 1;
}

void hash_free(struct hash* hash) {
    for (size_t i = 0; i < hash->bucket_count; ++i) {
        struct hash_entry* entry = hash->buckets[i];
        while (entry != NULL) {
            struct hash_entry* next = entry->next;
            free_entry(entry);
            entry = next;
        }
    }
    free(hash->buckets);
    free(hash);
}
