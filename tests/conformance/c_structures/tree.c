#include "structures.h"

#include <stdlib.h>

struct tree* tree_new(void) {
    struct tree* tree = malloc(sizeof *tree);
    if (tree == NULL) return NULL;
    tree->root = NULL;
    tree->count = 0;
    return tree;
}

/* The place that points to the node with the key, or would. */
static struct tree_node** place_of(struct tree* tree, int64_t key) {
    struct tree_node** place = &tree->root;
    while (*place != NULL && (*place)->key != key) place = key < (*place)->key ? &(*place)->left : &(*place)->right;
    return place;
}

int tree_put(struct tree* tree, int64_t key, int64_t value) {
    struct tree_node** place = place_of(tree, key);
    if (*place == NULL) {
        struct tree_node* node = malloc(sizeof *node);
        if (node == NULL) return -1;
        node->left = node->right = NULL;
        node->key = key;
        *place = node;
        ++tree->count;
    }
    (*place)->value = value;
    return 0;
}

const int64_t* tree_get(const struct tree* tree, int64_t key) {
    const struct tree_node* node = tree->root;
    while (node != NULL && node->key != key) node = key < node->key ? node->left : node->right;
    return node == NULL ? NULL : &node->value;
}

static int64_t sum_below(const struct tree_node* node) {
    return node == NULL ? 0 : node->value + sum_below(node->left) + sum_below(node->right);
}

int64_t tree_sum(const struct tree* tree) {
    return sum_below(tree->root);
}

int tree_remove(struct tree* tree, int64_t key) {
    struct tree_node** place = place_of(tree, key);
    struct tree_node* node = *place;
    if (node == NULL) return 0;
    if (node->left != NULL && node->right != NULL) {
        struct tree_node** lowest = &node->right;
        while ((*lowest)->left != NULL) lowest = &(*lowest)->left;
        struct tree_node* successor = *lowest;
        *lowest = successor->right;
        successor->left = node->left;
        successor->right = node->right;
        *place = successor;
    } else {
        *place = node->left != NULL ? node->left : node->right;
    }
    free(node);
    --tree->count;
    return 1;
}

static void free_below(struct tree_node* node) {
    if (node == NULL) return;
    free_below(node->left);
    free_below(node->right);
    free(node);
}

void tree_free(struct tree* tree) {
    free_below(tree->root);
    free(tree);
}
