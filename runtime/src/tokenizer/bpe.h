/* bpe.h - pair merging inside one piece of text. */
#ifndef RSR_BPE_H
#define RSR_BPE_H

#include "tokenizer.h"

/* Token ids on the heap; zero-initialised is empty. */
struct rsr_ids {
    uint32_t *data;
    size_t size;
    size_t capacity;
};

bool rsr_ids_append(struct rsr_ids *ids, uint32_t id);

struct rsr_bpe_symbol;
struct rsr_bpe_candidate;

/* Working memory of one thread, grown as needed; zero-initialised is empty. */
struct rsr_bpe_scratch {
    struct rsr_bpe_symbol *symbols;
    size_t n_symbols, symbol_capacity;
    struct rsr_bpe_candidate *heap;
    size_t n_heap, heap_capacity;
};

void rsr_bpe_scratch_free(struct rsr_bpe_scratch *scratch);

/* Appends the tokens of one piece; bytes and characters without any are dropped, as the library
 * does. n log n in the length of the piece. False when memory is out. */
bool rsr_bpe_encode(const struct rsr_encoder *encoder, struct rsr_bpe_scratch *scratch,
                    const char *piece, size_t n_bytes, struct rsr_ids *ids);

#endif
