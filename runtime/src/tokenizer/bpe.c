/* bpe.c - pair merging with a linked list of symbols and a heap of candidate merges.
 *
 * The lowest rank merges first; of equal ranks, the leftmost pair. A candidate whose symbols have
 * changed since it was queued is dropped when it reaches the top: its pair now merges to another
 * token or not at all.
 *
 * With SentencePiece, a piece may be a whole text. It is cut where no merge can join, which is
 * mostly between words. This does not change the result, but keeps list and heap in the cache: 1 MB
 * of English takes a quarter of the time.
 */
#include <stdlib.h>
#include <string.h>

#include "bpe.h"

#define NONE UINT32_MAX

struct rsr_bpe_symbol {
    uint32_t id;
    uint32_t previous, next; /* NONE at the ends */
    bool alive;
};

struct rsr_bpe_candidate {
    uint64_t order; /* rank << 32 | position of the left symbol */
    uint32_t result;
};

/* Room for one more element of a growing array. */
static bool grow(void **data, size_t size, size_t *capacity, size_t element_bytes) {
    if (size < *capacity)
        return true;
    size_t larger = *capacity * 2 + 64;
    void *moved = larger > SIZE_MAX / element_bytes ? NULL : realloc(*data, larger * element_bytes);
    if (!moved)
        return false;
    *data = moved;
    *capacity = larger;
    return true;
}

bool rsr_ids_append(struct rsr_ids *ids, uint32_t id) {
    void *data = ids->data;
    bool ok = grow(&data, ids->size, &ids->capacity, sizeof(id));
    ids->data = data;
    if (ok)
        ids->data[ids->size++] = id;
    return ok;
}

void rsr_bpe_scratch_free(struct rsr_bpe_scratch *scratch) {
    free(scratch->symbols);
    free(scratch->heap);
    *scratch = (struct rsr_bpe_scratch){0};
}

static bool push(struct rsr_bpe_scratch *s, struct rsr_bpe_candidate candidate) {
    void *data = s->heap;
    bool ok = grow(&data, s->n_heap, &s->heap_capacity, sizeof(candidate));
    s->heap = data;
    if (!ok)
        return false;
    size_t i = s->n_heap++;
    for (; i > 0 && s->heap[(i - 1) / 2].order > candidate.order; i = (i - 1) / 2)
        s->heap[i] = s->heap[(i - 1) / 2];
    s->heap[i] = candidate;
    return true;
}

static struct rsr_bpe_candidate pop(struct rsr_bpe_scratch *s) {
    struct rsr_bpe_candidate top = s->heap[0];
    struct rsr_bpe_candidate last = s->heap[--s->n_heap];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < s->n_heap; i = child) {
        if (child + 1 < s->n_heap && s->heap[child + 1].order < s->heap[child].order)
            child++;
        if (s->heap[child].order >= last.order)
            break;
        s->heap[i] = s->heap[child];
    }
    s->heap[i] = last;
    return top;
}

/* The merge of two tokens, or NULL; the merges of one left token are sorted by the right one. */
static const struct rsr_merge *find_merge(const struct rsr_encoder *encoder, uint32_t left,
                                          uint32_t right) {
    uint32_t low = encoder->merge_begin[left], high = encoder->merge_begin[left + 1];
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (encoder->merges[middle].right < right)
            low = middle + 1;
        else
            high = middle;
    }
    bool found = low < encoder->merge_begin[left + 1] && encoder->merges[low].right == right;
    return found ? &encoder->merges[low] : NULL;
}

/* Queues the merge of symbol `left` with its next one, if there is such a merge. */
static bool queue_pair(const struct rsr_encoder *encoder, struct rsr_bpe_scratch *s,
                       uint32_t left) {
    if (left == NONE || s->symbols[left].next == NONE)
        return true;
    const struct rsr_merge *merge =
        find_merge(encoder, s->symbols[left].id, s->symbols[s->symbols[left].next].id);
    return !merge || push(s, (struct rsr_bpe_candidate){.order = (uint64_t)merge->rank << 32 | left,
                                                        .result = merge->result});
}

static bool add_symbol(struct rsr_bpe_scratch *s, uint32_t id) {
    void *data = s->symbols;
    bool ok = grow(&data, s->n_symbols, &s->symbol_capacity, sizeof(s->symbols[0]));
    s->symbols = data;
    if (!ok)
        return false;
    uint32_t n = (uint32_t)s->n_symbols++;
    s->symbols[n] =
        (struct rsr_bpe_symbol){.id = id, .previous = n - 1, .next = n + 1, .alive = true};
    return true;
}

/* Adds the tokens of single bytes; those without one are passed over. */
static bool add_bytes(const struct rsr_encoder *encoder, struct rsr_bpe_scratch *s,
                      const char *text, size_t n_bytes) {
    for (size_t i = 0; i < n_bytes; i++) {
        uint32_t id = encoder->header->byte_token[(uint8_t)text[i]];
        if (id != RSR_NO_TOKEN && !add_symbol(s, id))
            return false;
    }
    return true;
}

static bool has_bytes(const struct rsr_encoder *encoder, const char *text, size_t n_bytes) {
    for (size_t i = 0; i < n_bytes; i++)
        if (encoder->header->byte_token[(uint8_t)text[i]] == RSR_NO_TOKEN)
            return false;
    return true;
}

/* Adds the tokens of single characters. An unknown character waits for the next character that is a
 * token or unknown, too. So it comes after byte tokens that follow it in the text, which is the
 * library's order. */
static bool add_characters(const struct rsr_encoder *encoder, struct rsr_bpe_scratch *s,
                           const char *piece, size_t n_bytes) {
    const struct rsr_tokenizer_header *header = encoder->header;
    bool unknown_waits = false, ok = true;
    size_t length;
    for (size_t i = 0; ok && i < n_bytes; i += length) {
        length = rsr_utf8_scan(piece + i, n_bytes - i).length;
        uint32_t id = rsr_encoder_find_piece(encoder, piece + i, length);
        if (id != RSR_NO_TOKEN) {
            ok = (!unknown_waits || add_symbol(s, header->unk_token)) && add_symbol(s, id);
            unknown_waits = false;
        } else if (has_bytes(encoder, piece + i, length)) {
            ok = add_bytes(encoder, s, piece + i, length);
        } else if (header->unk_token != RSR_NO_TOKEN) {
            ok = !unknown_waits || header->fuse_unk != 0 || add_symbol(s, header->unk_token);
            unknown_waits = true;
        }
    }
    return ok && (!unknown_waits || add_symbol(s, header->unk_token));
}

static bool start_symbols(const struct rsr_encoder *encoder, struct rsr_bpe_scratch *s,
                          const char *piece, size_t n_bytes) {
    s->n_symbols = s->n_heap = 0;
    return encoder->header->alphabet == RSR_BPE_BYTES ? add_bytes(encoder, s, piece, n_bytes)
                                                      : add_characters(encoder, s, piece, n_bytes);
}

/* Links the symbols from `begin` on up to where no merge can join them, and queues their merges.
 * Returns the end of that run in *end. */
static bool start_run(const struct rsr_encoder *encoder, struct rsr_bpe_scratch *s, uint32_t begin,
                      uint32_t *end) {
    uint32_t last = begin;
    while (last + 1 < s->n_symbols &&
           rsr_encoder_may_join(encoder, s->symbols[last].id, s->symbols[last + 1].id))
        last++;
    s->symbols[begin].previous = NONE;
    s->symbols[last].next = NONE;
    for (uint32_t i = begin; i < last; i++)
        if (!queue_pair(encoder, s, i))
            return false;
    *end = last + 1;
    return true;
}

static bool merge_symbols(const struct rsr_encoder *encoder, struct rsr_bpe_scratch *s) {
    while (s->n_heap > 0) {
        struct rsr_bpe_candidate top = pop(s);
        uint32_t at = (uint32_t)top.order;
        struct rsr_bpe_symbol *symbol = &s->symbols[at];
        if (!symbol->alive || symbol->next == NONE)
            continue;
        struct rsr_bpe_symbol *right = &s->symbols[symbol->next];
        const struct rsr_merge *merge = find_merge(encoder, symbol->id, right->id);
        if (!merge || merge->result != top.result)
            continue;
        symbol->id = top.result;
        symbol->next = right->next;
        right->alive = false;
        if (right->next != NONE)
            s->symbols[right->next].previous = at;
        if (!queue_pair(encoder, s, symbol->previous) || !queue_pair(encoder, s, at))
            return false;
    }
    return true;
}

bool rsr_bpe_encode(const struct rsr_encoder *encoder, struct rsr_bpe_scratch *scratch,
                    const char *piece, size_t n_bytes, struct rsr_ids *ids) {
    uint32_t whole = RSR_NO_TOKEN;
    if (encoder->header->ignore_merges)
        whole = rsr_encoder_find_piece(encoder, piece, n_bytes);
    if (whole != RSR_NO_TOKEN)
        return rsr_ids_append(ids, whole);
    if (!start_symbols(encoder, scratch, piece, n_bytes))
        return false;
    for (uint32_t begin = 0; begin < scratch->n_symbols;)
        if (!start_run(encoder, scratch, begin, &begin) || !merge_symbols(encoder, scratch))
            return false;
    for (size_t i = 0; i < scratch->n_symbols; i++)
        if (scratch->symbols[i].alive && !rsr_ids_append(ids, scratch->symbols[i].id))
            return false;
    return true;
}
