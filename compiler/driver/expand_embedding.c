/* expand_embedding.c - an embedding that the file has in blocks: its rows as floats, expanded in
 * parallel and written in order, a few at a time.
 */
#include "base/round.h"
#include "driver/compilation.h"
#include "driver/turns.h"
#include "model/gguf_blocks.h"

#define PIECE_BYTES (UINT64_C(2) << 20)

struct expanding {
    struct rsrc_compilation *c;
    const struct rsr_tensor *blocks;
    uint32_t rows, piece_rows;
    uint64_t row_bytes;
    struct rsrc_turns turns; /* of pieces */
    pthread_t caller;        /* its time counts as time of its pass */
};

static void expand_pieces(struct expanding *e) {
    struct rsrc_compilation *c = e->c;
    struct rsrc_arena arena;
    rsrc_arena_init(&arena);
    uint16_t *floats = rsrc_arena_array(&arena, e->piece_rows, e->row_bytes);
    uint32_t piece;
    while (rsrc_take_item(&e->turns, &piece)) {
        const uint32_t first = piece * e->piece_rows, left = e->rows - first;
        const uint32_t n = left < e->piece_rows ? left : e->piece_rows;
        enum rsrc_status status = rsrc_expand_rows(c->run.diag, e->blocks, first, n, floats);
        if (rsrc_await_turn(&e->turns, piece) && status == RSRC_OK)
            status = rsrc_write_section(&c->weights, floats, n * e->row_bytes);
        rsrc_show_progress(&c->run, "parts of the embedding", piece + 1, e->turns.n_items);
        rsrc_end_turn(&e->turns, status);
    }
    rsrc_arena_free(&arena);
}

static void *work(void *argument) {
    struct expanding *e = argument;
    const struct rsrc_lap lap = rsrc_lap_begin(&e->c->run.times);
    expand_pieces(e);
    if (!pthread_equal(pthread_self(), e->caller))
        rsrc_lap_end(&e->c->run.times, PASS_LINK, &lap);
    return NULL;
}

enum rsrc_status rsrc_emit_expanded_embedding(struct rsrc_compilation *c, const char *symbol) {
    const struct rsr_tensor *floats = c->inputs.graph.embedding;
    const uint32_t rows = (uint32_t)floats->shape[0];
    const uint64_t row_bytes = floats->size_bytes / rows;
    const uint32_t piece_rows = row_bytes < PIECE_BYTES ? (uint32_t)(PIECE_BYTES / row_bytes) : 1;
    struct expanding e = {.c = c,
                          .blocks = c->inputs.graph.embedding_blocks,
                          .rows = rows,
                          .piece_rows = piece_rows,
                          .row_bytes = row_bytes,
                          .turns = {.n_items = rsrc_divide_up(rows, piece_rows)},
                          .caller = pthread_self()};
    if (c->weights.is_hollow) {
        rsrc_elf_reserve(&c->weights.elf, symbol, 4096, floats->size_bytes);
        return RSRC_OK;
    }
    if (rsrc_begin_section(&c->weights, symbol, 4096, floats->size_bytes) != RSRC_OK)
        return RSRC_FAILED;
    return rsrc_run_turns(&e.turns, c->run.n_jobs, work, &e);
}
