/* test_step_text.c - printed steps parse back to equal steps, and damaged text is refused with a
 * place. */
#include "block_layers.h"
#include "schedule/schedule.h"
#include "text_damage.h"

#define N_BLOCKS 2
#define N_LAYERS (N_BLOCKS * 7)
#define N_NORMS (N_BLOCKS * 4 + 1)

struct model {
    struct rsr_graph graph;
    struct rsr_block_layers blocks[N_BLOCKS];
    struct rsr_layer layers[N_LAYERS];
    struct rsr_norm_layer norms[N_NORMS];
    uint32_t layer[N_LAYERS], prefill[N_LAYERS];
    struct rsrc_step_kernels kernels;
};

static void make_model(struct model *m) {
    *m = (struct model){0};
    for (uint32_t l = 0; l < N_LAYERS; l++) {
        m->layers[l].name = l == 0 ? "q \"quoted\" \n # | barrier \x1b" : "layer";
        m->layer[l] = m->prefill[l] = l;
    }
    for (uint32_t n = 0; n < N_NORMS; n++)
        m->norms[n].name = "norm";
    for (uint32_t b = 0; b < N_BLOCKS; b++)
        m->blocks[b] = block_layers(b * 7, b * 4, true);
    m->graph = (struct rsr_graph){.layers = m->layers,
                                  .n_layers = N_LAYERS,
                                  .norms = m->norms,
                                  .n_norms = N_NORMS,
                                  .blocks = m->blocks,
                                  .head_slot = ternary_slot(RSR_NO_LAYER),
                                  .n_ropes = 1,
                                  .final_norm = N_NORMS - 1,
                                  .hyper = {.hidden = 100,
                                            .n_layers = N_BLOCKS,
                                            .n_heads = 6,
                                            .n_kv_heads = 2,
                                            .head_dim = 20,
                                            .rotary_dim = 20,
                                            .ffn = 333,
                                            .vocab = 50}};
    m->kernels = (struct rsrc_step_kernels){N_LAYERS, m->layer, m->prefill, NULL, 5};
}

static void check_same(const struct rsr_step *a, const struct rsr_step *b) {
    CHECK_STR(b->regime, a->regime);
    CHECK(a->min_tokens == b->min_tokens && a->max_tokens == b->max_tokens);
    CHECK_INT(b->arena_bytes_per_token, a->arena_bytes_per_token);
    CHECK_INT(b->n_ops, a->n_ops);
    CHECK_INT(b->n_buffers, a->n_buffers);
    for (uint32_t i = 0; check_failures == 0 && i < a->n_buffers; i++) {
        const struct rsr_buffer *x = &a->buffers[i], *y = &b->buffers[i];
        CHECK_STR(y->name, x->name);
        CHECK(x->cols == y->cols && x->row_bytes == y->row_bytes && x->offset == y->offset);
    }
    for (uint32_t i = 0; check_failures == 0 && i < a->n_ops; i++)
        CHECK(memcmp(&a->ops[i], &b->ops[i], sizeof a->ops[i]) == 0);
}

static void test_round_trip(struct fixture *f, const struct model *m, const struct rsr_step *step) {
    struct rsrc_buffer first = {0}, second = {0};
    struct rsr_parsed_step *parsed;
    uint32_t n;
    rsrc_print_step(&m->graph, &m->kernels, step, &first);
    rsrc_print_step(&m->graph, &m->kernels, step, &first); /* several follow each other */
    CHECK_INT(rsrc_parse_steps(f->diag, &f->arena, "s", first.data, first.size_bytes, &parsed, &n),
              RSRC_OK);
    CHECK_INT(n, 2);
    for (uint32_t i = 0; check_failures == 0 && i < n; i++) {
        check_same(step, &parsed[i].step);
        rsrc_print_parsed_step(&parsed[i], &second);
    }
    if (check_failures == 0)
        CHECK_STR(second.data, first.data);
    rsrc_buffer_free(&first);
    rsrc_buffer_free(&second);
}

static enum rsrc_status parse(struct rsrc_diag *diag, struct rsrc_arena *arena, const char *text,
                              size_t size_bytes) {
    struct rsr_parsed_step *parsed;
    uint32_t n;
    return rsrc_parse_steps(diag, arena, "s.txt", text, size_bytes, &parsed, &n);
}

/* After `from` is replaced by `to`, the diagnostic is at `place`. */
static void expect_refused(const char *text, const char *from, const char *to, const char *place,
                           const char *message) {
    expect_damage_refused(parse, text, from, to, place, message);
}

static void test_refusals(const char *text) {
    expect_refused(text, "steps 1", "steps 2", "s.txt:1:7", "expected '1'");
    expect_refused(text, "tokens 1 ..", "tokens 0 ..", "s.txt:2:", "the fewest tokens is 0");
    expect_refused(text, "buffer x ", "buffer q ", "s.txt:7:", "buffer 'q' is there twice");
    expect_refused(text, "row_bytes 448", "row_bytes 449", "s.txt:3:", "multiples of 64");
    expect_refused(text, "  quant ", "  quants ", "s.txt:", "did you mean 'quant'");
    expect_refused(text, "normed <- x :", "normed <- xx :", "s.txt:", "no buffer is called 'xx'");
    expect_refused(text, "norm 0", "kernel 0", "s.txt:", "expected 'norm'");
    expect_refused(text, "q k v rope", "q k v rope x", "s.txt:", "at most four sources");
    expect_refused(text, " | token barrier", "", "linear      q <- act",
                   "no barrier before it uses 'act'");
    expect_refused(text, "| token barrier", "| token", "s.txt:", "expected 'barrier'");
    /* At a token barrier one worker may be behind and another ahead, so these operations need a
     * barrier of all workers. And a worker has rows of its own only in buffers that it does not
     * share. */
    expect_refused(text, "h <- gate up", "h <- gate delta", "linear      delta <- h_act",
                   "no barrier before it uses 'delta'");
    expect_refused(text, "att <- q block 0 | barrier", "att <- q block 0 | token barrier",
                   "att_normed <- att", "no barrier before it uses 'att'");
    expect_refused(text, "add         x <- delta", "add         delta <- x",
                   "s.txt:2:1:", "workers have no rows of their own in 'delta'");
    expect_refused(text, "normed <- x :", "normed <- att :", "norm        normed <- att :",
                   "reads undefined buffer 'att'");
    expect_refused(text, "arena ", "arena 64 # ", "s.txt:2:1:", "the arena is too small for '");
    expect_refused(text, "end step", "", "s.txt:", "unknown operation");
}

/* More operations than are compared with each other. */
static void test_long_run(void) {
    struct fixture f;
    setup(&f);
    struct rsrc_buffer text = {0};
    rsrc_buffer_puts(&text, "steps 1\nstep \"any\" tokens 1 .. 2 arena 64\n"
                            "  buffer x cols 1 row_bytes 64 offset 0\n");
    for (int i = 0; i < 100; i++)
        rsrc_buffer_puts(&text, "  embed x <-\n");
    rsrc_buffer_puts(&text, "end step\n");
    struct rsr_parsed_step *parsed;
    uint32_t n;
    CHECK_INT(rsrc_parse_steps(f.diag, &f.arena, "s", text.data, text.size_bytes, &parsed, &n),
              RSRC_FAILED);
    CHECK(strstr(f.text, "without a barrier") != NULL);
    rsrc_buffer_free(&text);
    teardown(&f);
}

int main(void) {
    struct fixture f;
    setup(&f);
    struct model m;
    make_model(&m);
    struct rsr_step *steps;
    uint32_t n_steps;
    rsrc_build_steps(&f.arena, &m.graph, &m.kernels, &steps, &n_steps);
    test_round_trip(&f, &m, steps);
    struct rsrc_buffer text = {0};
    rsrc_print_step(&m.graph, &m.kernels, steps, &text);
    test_refusals(text.data);
    test_long_run();
    check_any_damage(parse, text.data, 11);
    rsrc_buffer_free(&text);
    teardown(&f);
    return CHECK_EXIT();
}
