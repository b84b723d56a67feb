/* piece_table.h - a vocabulary's ids by their text. */
#ifndef RSR_PIECE_TABLE_H
#define RSR_PIECE_TABLE_H

#include "runtime.h"

/* One piece of the vocabulary; the text is borrowed. */
struct rsr_piece {
    const char *text;
    size_t n_bytes;
    uint32_t id;
    uint32_t bucket; /* set by rsr_piece_table_create */
};

struct rsr_piece_table;

/* If pieces have equal texts, the lowest id is found. Sorts `pieces`, which need not outlive the
 * call; their texts must outlive the table. NULL when memory is out. */
struct rsr_piece_table *rsr_piece_table_create(struct rsr_piece *pieces, uint32_t n);
void rsr_piece_table_destroy(struct rsr_piece_table *table);

/* The id of a text, or RSR_NO_TOKEN. */
uint32_t rsr_piece_table_find(const struct rsr_piece_table *table, const char *text,
                              size_t n_bytes);

#endif
