/* piece_table.c - hash buckets, each sorted by text.
 *
 * A bucket has one piece on average. Even if a hostile vocabulary fills a single bucket, a look-up
 * is a binary search, not a walk through all pieces. So the hash needs no secret.
 */
#include <stdlib.h>
#include <string.h>

#include "piece_table.h"

struct entry {
    const char *text;
    uint32_t n_bytes;
    uint32_t id;
};

struct rsr_piece_table {
    uint32_t mask;
    uint32_t *begin; /* [mask + 2]: first entry of each bucket */
    struct entry entries[];
};

/* FNV-1a. */
static uint32_t hash_text(const char *text, size_t n) {
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < n; i++)
        hash = (hash ^ (uint8_t)text[i]) * 16777619u;
    return hash;
}

static int compare_texts(const char *a, size_t n_a, const char *b, size_t n_b) {
    if (n_a != n_b)
        return n_a < n_b ? -1 : 1;
    return memcmp(a, b, n_a);
}

static int compare_pieces(const void *left, const void *right) {
    const struct rsr_piece *a = left, *b = right;
    if (a->bucket != b->bucket)
        return a->bucket < b->bucket ? -1 : 1;
    int order = compare_texts(a->text, a->n_bytes, b->text, b->n_bytes);
    return order != 0 ? order : (a->id > b->id) - (a->id < b->id);
}

struct rsr_piece_table *rsr_piece_table_create(struct rsr_piece *pieces, uint32_t n) {
    uint32_t n_buckets = 16;
    while (n_buckets < n && n_buckets < 1u << 31)
        n_buckets *= 2;
    struct rsr_piece_table *table =
        calloc(1, sizeof(*table) + (size_t)n * sizeof(table->entries[0]));
    uint32_t *begin = calloc((size_t)n_buckets + 1, sizeof(*begin));
    if (!table || !begin) {
        free(table);
        free(begin);
        return NULL;
    }
    table->mask = n_buckets - 1;
    table->begin = begin;
    for (uint32_t i = 0; i < n; i++)
        pieces[i].bucket = hash_text(pieces[i].text, pieces[i].n_bytes) & table->mask;
    qsort(pieces, n, sizeof(*pieces), compare_pieces);
    for (uint32_t i = 0; i < n; i++) {
        table->entries[i] =
            (struct entry){pieces[i].text, (uint32_t)pieces[i].n_bytes, pieces[i].id};
        begin[pieces[i].bucket + 1]++;
    }
    for (uint32_t b = 0; b < n_buckets; b++)
        begin[b + 1] += begin[b];
    return table;
}

void rsr_piece_table_destroy(struct rsr_piece_table *table) {
    if (!table)
        return;
    free(table->begin);
    free(table);
}

uint32_t rsr_piece_table_find(const struct rsr_piece_table *table, const char *text,
                              size_t n_bytes) {
    uint32_t bucket = hash_text(text, n_bytes) & table->mask;
    uint32_t low = table->begin[bucket], high = table->begin[bucket + 1], end = high;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const struct entry *e = &table->entries[middle];
        if (compare_texts(e->text, e->n_bytes, text, n_bytes) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == end)
        return RSR_NO_TOKEN;
    const struct entry *e = &table->entries[low];
    return compare_texts(e->text, e->n_bytes, text, n_bytes) == 0 ? e->id : RSR_NO_TOKEN;
}
