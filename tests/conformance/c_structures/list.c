#include "structures.h"

#include <stdlib.h>

struct list* list_new(void) {
    struct list* list = malloc(sizeof *list);
    if (list == NULL) return NULL;
    list->first = list->last = NULL;
    list->count = 0;
    return list;
}

int list_add(struct list* list, int64_t value) {
    struct list_node* node = malloc(sizeof *node);
    if (node == NULL) return -1;
    node->next = NULL;
    node->value = value;
    if (list->last == NULL)
        list->first = node;
    else
        list->last->next = node;
    list->last = node;
    ++list->count;
    return 0;
}

int64_t list_sum(const struct list* list) {
    int64_t sum = 0;
    for (const struct list_node* node = list->first; node != NULL; node = node->next) sum += node->value;
    return sum;
}

void list_scale(struct list* list, int64_t factor) {
    for (struct list_node* node = list->first; node != NULL; node = node->next) node->value *= factor;
}

void list_free(struct list* list) {
    struct list_node* node = list->first;
    while (node != NULL) {
        struct list_node* next = node->next;
        free(node);
        node = next;
    }
    free(list);
}
