/* test_schedule.c - steps of synthetic graphs pass verification, and every kind of damage to a step
 * is found. */
#include "block_layers.h"
#include "base/arena.h"
#include "check.h"
#include "schedule/schedule.h"

#define N_BLOCKS 3

struct fixture {
    struct rsr_graph graph;
    struct rsr_block_layers blocks[N_BLOCKS];
    struct rsr_layer layers[N_BLOCKS * 7];
    struct rsr_norm_layer norms[N_BLOCKS * 4 + 1];
};

static void make_graph(struct fixture *f, bool sub_norms) {
    *f = (struct fixture){0};
    f->graph = (struct rsr_graph){.layers = f->layers,
                                  .n_layers = N_BLOCKS * 7,
                                  .norms = f->norms,
                                  .n_norms = N_BLOCKS * 4 + 1,
                                  .blocks = f->blocks,
                                  .head_slot = ternary_slot(RSR_NO_LAYER),
                                  .n_ropes = 1,
                                  .final_norm = N_BLOCKS * 4};
    f->graph.hyper = (struct rsr_hyper){.hidden = 100,
                                        .n_layers = N_BLOCKS,
                                        .n_heads = 6,
                                        .n_kv_heads = 2,
                                        .head_dim = 20,
                                        .rotary_dim = 20,
                                        .ffn = 333,
                                        .vocab = 50};
    for (uint32_t b = 0; b < N_BLOCKS; b++) {
        f->blocks[b] = block_layers(b * 7, b * 4, sub_norms);
    }
}

/* Verification of a damaged step must fail; the damage is undone by the caller's copy. */
static bool rejects(struct rsrc_diag *diag, const struct rsr_graph *graph,
                    const struct rsrc_step_kernels *kernels, const struct rsr_step *step) {
    return rsrc_verify_step(diag, graph, kernels, step) == RSRC_FAILED;
}

static void damage(struct rsrc_diag *diag, struct rsrc_arena *arena, const struct rsr_graph *graph,
                   const struct rsrc_step_kernels *kernels, const struct rsr_step *good) {
    struct rsr_step bad = *good;
    bad.ops = RSRC_NEW_ARRAY(arena, good->n_ops, struct rsr_step_op);
    bad.buffers = RSRC_NEW_ARRAY(arena, good->n_buffers, struct rsr_buffer);
    uint32_t n_barriers = 0, n_shared = 0;
    for (uint32_t i = 0; i < good->n_ops; i++) {
        memcpy(bad.ops, good->ops, good->n_ops * sizeof(*bad.ops));
        memcpy(bad.buffers, good->buffers, good->n_buffers * sizeof(*bad.buffers));
        CHECK(!rejects(diag, graph, kernels, &bad));
        if ((good->ops[i].flags & RSR_OP_BARRIER) != 0 && i + 1 < good->n_ops) {
            bad.ops[i].flags = 0;
            CHECK(rejects(diag, graph, kernels, &bad));
            n_barriers++;
        } else if (good->ops[i].kind == RSR_OP_EMBED) {
            bad.ops[i].dst = bad.ops[i + 1].dst; /* x is never written */
            CHECK(rejects(diag, graph, kernels, &bad));
        }
        if (good->ops[i].kind == RSR_OP_LINEAR) {
            bad.ops[i].arg = kernels->n_kernels;
            CHECK(rejects(diag, graph, kernels, &bad));
        }
    }
    /* Moves any live buffer onto the residual stream, which is live in the whole step. */
    for (uint32_t b = 1; b < good->n_buffers; b++) {
        bool used = false;
        for (uint32_t i = 0; i < good->n_ops; i++)
            used |= good->ops[i].dst == b;
        memcpy(bad.ops, good->ops, good->n_ops * sizeof(*bad.ops));
        memcpy(bad.buffers, good->buffers, good->n_buffers * sizeof(*bad.buffers));
        bad.buffers[b].offset = bad.buffers[0].offset;
        if (!used)
            continue;
        CHECK(rejects(diag, graph, kernels, &bad));
        n_shared++;
    }
    CHECK(n_barriers > 20 && n_shared > 10);
}

/* The first n_own layers have a kernel of their own for prefill. */
static struct rsrc_step_kernels number_kernels(uint32_t *layer, uint32_t *prefill, uint32_t n_own) {
    for (uint32_t l = 0; l < N_BLOCKS * 7; l++) {
        layer[l] = l;
        prefill[l] = l < n_own ? N_BLOCKS * 7 + l : l;
    }
    for (uint32_t i = 0; i < n_own; i++)
        layer[N_BLOCKS * 7 + i] = i;
    return (struct rsrc_step_kernels){
        .n_kernels = N_BLOCKS * 7 + n_own, .layer = layer, .prefill = prefill, .decode_tokens = 5};
}

/* Two steps cover all batch sizes and differ only in kernel numbers. */
static void check_regimes(struct rsrc_diag *diag, const struct rsr_graph *graph,
                          const struct rsrc_step_kernels *kernels, const struct rsr_step *steps,
                          uint32_t n_steps) {
    CHECK_INT(n_steps, 2);
    CHECK_INT(steps[0].min_tokens, 1);
    CHECK_INT(steps[0].max_tokens, 5);
    CHECK_INT(steps[1].min_tokens, 6);
    CHECK_INT(steps[1].max_tokens, UINT32_MAX);
    CHECK_INT(steps[0].n_ops, steps[1].n_ops);
    uint32_t n_own = 0;
    for (uint32_t i = 0; i < steps[0].n_ops; i++) {
        struct rsr_step_op decode = steps[0].ops[i], prefill = steps[1].ops[i];
        if (decode.kind == RSR_OP_LINEAR && decode.arg != prefill.arg) {
            CHECK_INT(prefill.arg, N_BLOCKS * 7 + decode.arg);
            prefill.arg = decode.arg;
            n_own++;
        }
        CHECK(memcmp(&decode, &prefill, sizeof decode) == 0);
    }
    CHECK_INT(n_own, 2);
    for (uint32_t s = 0; s < n_steps; s++)
        CHECK(rsrc_verify_step(diag, graph, kernels, &steps[s]) == RSRC_OK);
}

/* If up and down read by lists, a list is made before each of them. */
static void check_lists(struct rsrc_diag *diag, struct rsrc_arena *arena,
                        const struct rsr_graph *graph, struct rsrc_step_kernels kernels) {
    uint8_t lists[N_BLOCKS * 7] = {0};
    struct rsr_step *step = NULL;
    uint32_t n_steps = 0, n_rows = 0, n_cols = 0;
    for (uint32_t b = 0; b < N_BLOCKS; b++) {
        lists[graph->blocks[b].up.layer] = RSR_LIST_ROWS;
        lists[graph->blocks[b].down.layer] = RSR_LIST_COLS;
    }
    kernels.lists = lists;
    rsrc_build_steps(arena, graph, &kernels, &step, &n_steps);
    CHECK_INT(n_steps, 1);
    CHECK(rsrc_verify_step(diag, graph, &kernels, step) == RSRC_OK);
    for (uint32_t i = 0; i < step->n_ops; i++) {
        n_rows += step->ops[i].kind == RSR_OP_LIST_ROWS;
        n_cols += step->ops[i].kind == RSR_OP_LIST_COLS;
    }
    for (uint32_t b = 0; b < step->n_buffers; b++) { /* there is room after the activations */
        const struct rsr_buffer *buffer = &step->buffers[b];
        if (strcmp(buffer->name, "act") == 0 || strcmp(buffer->name, "h_act") == 0)
            CHECK_INT(buffer->row_bytes, rsr_list_layout(buffer->cols, graph->hyper.ffn).row_bytes);
    }
    CHECK_INT(n_rows, N_BLOCKS);
    CHECK_INT(n_cols, N_BLOCKS);
    damage(diag, arena, graph, &kernels, step);
}

/* Buffers of many widths get places that no other live buffer has. Floats, lists, and norms of
 * single layers make more buffers than the models above have. */
static void check_shapes(struct rsrc_diag *diag, struct rsrc_arena *arena) {
    uint32_t layer[N_BLOCKS * 7], prefill[N_BLOCKS * 7];
    uint64_t state = 20261123;
    for (uint32_t i = 0; i < 300; i++) {
        struct fixture f;
        struct rsr_step *steps = NULL;
        uint32_t n_steps = 0;
        make_graph(&f, check_random(&state) % 2 != 0);
        struct rsr_hyper *hyper = &f.graph.hyper;
        f.graph.input = check_random(&state) % 2 != 0 ? RSR_INPUT_F32 : RSR_INPUT_I8;
        hyper->hidden = 1 + (uint32_t)(check_random(&state) % 700);
        hyper->ffn = 1 + (uint32_t)(check_random(&state) % 900);
        hyper->n_kv_heads = 1 + (uint32_t)(check_random(&state) % 4);
        hyper->n_heads = hyper->n_kv_heads * (1 + (uint32_t)(check_random(&state) % 3));
        hyper->head_dim = 2 + 2 * (uint32_t)(check_random(&state) % 80);
        hyper->rotary_dim = hyper->head_dim;
        for (uint32_t b = 0; b < N_BLOCKS && check_random(&state) % 2 == 0; b++)
            f.blocks[b].q.norm = f.blocks[b].v.norm = f.blocks[b].up.norm = 0;
        const struct rsrc_step_kernels kernels = number_kernels(layer, prefill, 0);
        rsrc_build_steps(arena, &f.graph, &kernels, &steps, &n_steps);
        CHECK(rsrc_verify_step(diag, &f.graph, &kernels, steps) == RSRC_OK);
    }
}

int main(void) {
    struct rsrc_arena arena;
    rsrc_arena_init(&arena);
    FILE *messages = tmpfile();
    struct rsrc_diag *diag = rsrc_diag_create(messages, false, RSRC_COLOR_NEVER);
    for (int sub_norms = 0; sub_norms < 2; sub_norms++) {
        struct fixture f;
        struct rsr_step *steps = NULL;
        uint32_t n_steps = 0;
        make_graph(&f, sub_norms != 0);
        uint32_t layer[N_BLOCKS * 7 + 2], prefill[N_BLOCKS * 7];
        struct rsrc_step_kernels kernels = number_kernels(layer, prefill, 0);
        rsrc_build_steps(&arena, &f.graph, &kernels, &steps, &n_steps);
        CHECK_INT(n_steps, 1);
        CHECK(rsrc_verify_step(diag, &f.graph, &kernels, steps) == RSRC_OK);
        uint64_t sum = 0;
        for (uint32_t b = 0; b < steps->n_buffers; b++)
            sum += steps->buffers[b].row_bytes;
        CHECK(steps->arena_bytes_per_token < sum * 2 / 3); /* buffers do share memory */
        damage(diag, &arena, &f.graph, &kernels, steps);
        check_lists(diag, &arena, &f.graph, kernels);
        kernels = number_kernels(layer, prefill, 2);
        rsrc_build_steps(&arena, &f.graph, &kernels, &steps, &n_steps);
        check_regimes(diag, &f.graph, &kernels, steps, n_steps);
    }
    check_shapes(diag, &arena);
    rsrc_diag_destroy(diag);
    char text[256];
    rewind(messages);
    text[fread(text, 1, sizeof(text) - 1, messages)] = '\0';
    CHECK(strstr(text, "[step-invalid]") != NULL);
    fclose(messages);
    rsrc_arena_free(&arena);
    return CHECK_EXIT();
}
