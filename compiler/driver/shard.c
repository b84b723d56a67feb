/* shard.c - --shard: what a rank reads of a module (walk/rank_share.h), and so what its file leaves
 * out.
 *
 * Blobs keep their places, because the tables and kernels address them as in the whole module.
 * Other ranks' rows become holes of the file. Equal blobs are stored once, so marking begins with
 * nothing: what any user reads stays.
 */
#include <stdlib.h>
#include <string.h>

#include "driver/compilation.h"
#include "model/pack_rows.h"
#include "sketch/sketch.h"
#include "walk/rank_share.h"

/* ---- the option ------------------------------------------------------------------------------ */

/* A number in its shortest form, because the module's note has the option's text. */
static const char *take_number(const char *text, uint32_t *number) {
    char *end = NULL;
    const bool starts =
        *text >= '0' && *text <= '9' && (*text != '0' || text[1] < '0' || text[1] > '9');
    const unsigned long n = starts ? strtoul(text, &end, 10) : 0;
    *number = n <= RSR_MOST_RANKS ? (uint32_t)n : UINT32_MAX;
    return starts ? end : NULL;
}

enum rsrc_status rsrc_set_shard(struct rsrc_input_set *in) {
    const struct rsrc_options *options = in->run->options;
    if (options->shard == NULL)
        return RSRC_OK;
    const char *slash = take_number(options->shard, &in->shard);
    const char *end = slash != NULL && *slash == '/' ? take_number(slash + 1, &in->n_shards) : NULL;
    if (end == NULL || *end != '\0' || in->n_shards < 2 || in->n_shards > RSR_MOST_RANKS ||
        in->shard >= in->n_shards)
        return rsrc_bad_option(in->run, "for 2 ranks: --shard=0/2 and --shard=1/2",
                               "--shard takes I/N, a rank below 2 to %u ranks, not '%s'",
                               RSR_MOST_RANKS, options->shard);
    if (options->emit != RSRC_EMIT_SO)
        return rsrc_bad_option(in->run, "leave out --emit",
                               "--shard is of a module, and --emit asks for something else");
    if (rsrc_n_gpus(in) != 0)
        return rsrc_bad_option(in->run, "choose CPUs alone",
                               "--shard: ranks compute on CPUs, and %s is a GPU",
                               in->specs[in->n_cpus].name);
    return RSRC_OK;
}

enum rsrc_status rsrc_check_shard(const struct rsrc_input_set *in) {
    if (in->n_shards == 0 || (in->has_graph && in->graph.n_deltas == 0))
        return RSRC_OK;
    if (!in->has_graph)
        return rsrc_bad_option(in->run, "give a model's checkpoint",
                               "--shard: matrices without a model are not shared out");
    return rsrc_bad_option(in->run, "run it in one process",
                           "--shard: the model is recurrent, and its states are not shared out "
                           "among ranks");
}

/* ---- what is read ---------------------------------------------------------------------------- */

struct sharding {
    struct rsrc_compilation *c;
    const struct rsr_module_input *input;
    bool *is_shared;              /* [n_blobs]: some user reads a part of it */
    struct rsrc_elf_range *reads; /* in the section of weights */
    uint32_t n_reads, capacity;
};

/* UINT32_MAX: no blob has this symbol, as NULL has none. */
static uint32_t find_blob(const struct sharding *s, const char *symbol) {
    const struct rsrc_weights *weights = &s->c->weights;
    for (uint32_t i = 0; symbol != NULL && i < weights->n_blobs; i++)
        if (strcmp(weights->blobs[i].symbol, symbol) == 0)
            return i;
    return UINT32_MAX;
}

/* Bytes [begin, end) of the blob, as far as it has them. */
static void keep(struct sharding *s, uint32_t blob, uint64_t begin, uint64_t end) {
    const struct rsrc_weights_blob *b = &s->c->weights.blobs[blob];
    end = end < b->size_bytes ? end : b->size_bytes;
    if (begin >= end)
        return;
    s->reads =
        rsrc_arena_grown(&s->c->run.arena, s->reads, s->n_reads, &s->capacity, sizeof(*s->reads));
    s->reads[s->n_reads++] = (struct rsrc_elf_range){b->at + begin, b->at + end};
}

static void keep_all(struct sharding *s, const char *const *symbols, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t blob = find_blob(s, symbols[i]);
        if (blob != UINT32_MAX)
            keep(s, blob, 0, UINT64_MAX);
    }
}

static void share_codes(struct sharding *s, const struct rsr_linear_unit *linear,
                        struct rsr_range tiles) {
    const uint32_t blob = find_blob(s, linear->codes);
    if (blob == UINT32_MAX)
        return;
    const uint64_t size = s->c->weights.blobs[blob].size_bytes;
    const uint64_t tile = linear->tile_bytes, all = linear->n_tiles * tile;
    s->is_shared[blob] = true;
    if (!linear->tiles_have_own_codes) {
        keep(s, blob, 0, UINT64_MAX);
        return;
    }
    for (uint32_t i = 0; i < linear->n_streams; i++) {
        const uint64_t begin = i * linear->stream_bytes;
        const uint64_t end = i + 1 < linear->n_streams ? begin + linear->stream_bytes : size;
        keep(s, blob, begin + tiles.begin * tile, begin + tiles.end * tile);
        keep(s, blob, begin + all, end); /* what belongs to no tile */
    }
}

/* Rows of units [begin, end), each of unit_rows. The rows end the blob. */
static void share_rows(struct sharding *s, const char *symbol, uint32_t rows, uint64_t row_bytes,
                       uint32_t unit_rows, struct rsr_range units) {
    const uint32_t blob = find_blob(s, symbol);
    const uint64_t first = s->c->weights.blobs[blob].size_bytes - rows * row_bytes;
    s->is_shared[blob] = true;
    keep(s, blob, 0, first);
    keep(s, blob, first + (uint64_t)units.begin * unit_rows * row_bytes,
         first + (uint64_t)units.end * unit_rows * row_bytes);
}

static uint64_t row_bytes_of(const struct rsr_tensor *tensor) {
    return tensor->size_bytes / (uint64_t)tensor->shape[0];
}

static void share_head(struct sharding *s, uint32_t unit_rows, struct rsr_range units) {
    const struct rsr_tensor *head = s->input->graph->head;
    share_rows(s, s->input->head_symbol, (uint32_t)head->shape[0],
               s->input->packed_head ? rsrc_packed_row_bytes(head) : row_bytes_of(head), unit_rows,
               units);
}

/* The head's rows whose sketches this rank reads, and the sketches. */
static void share_sketch(struct sharding *s) {
    const struct rsr_module_sketch *sketch = &s->input->head_sketch;
    const uint32_t n_blocks = s->c->made.head_plan.n_blocks;
    const struct rsr_range blocks = rsr_rank_share(n_blocks, s->input->shard, s->input->n_shards);
    share_rows(s, sketch->blocks, n_blocks, sketch->block_bytes, 1, blocks);
    share_head(s, RSR_SKETCH_VECTORS, blocks);
}

static void share_op(struct sharding *s, const struct rsr_module_target *target,
                     const struct rsr_target *tables, const struct rsr_step_table *step,
                     uint32_t index) {
    const struct rsr_module_input *in = s->input;
    const struct rsr_step_op *op = &step->ops[index];
    const struct rsr_range part =
        rsr_rank_part(tables, &in->graph->hyper, step, index, in->shard, in->n_shards);
    if (op->kind == RSR_OP_DENSE)
        share_rows(s, in->dense_symbols[op->arg], in->graph->dense[op->arg].rows,
                   row_bytes_of(in->graph->dense[op->arg].weight), RSR_DENSE_BLOCK_ROWS, part);
    else if (op->kind == RSR_OP_HEAD && op->arg == RSR_NO_KERNEL)
        share_head(s, RSR_DENSE_BLOCK_ROWS, part);
    else if (op->kind == RSR_OP_LINEAR || op->kind == RSR_OP_HEAD)
        share_codes(s, &target->linears[op->arg], part);
}

/* What rsr_rank_part() reads of a target's tables. */
static struct rsr_target describe_target(const struct sharding *s,
                                         const struct rsr_module_target *target) {
    struct rsrc_arena *arena = &s->c->run.arena;
    const struct rsr_graph *graph = s->input->graph;
    struct rsr_kernel_desc *kernels =
        RSRC_NEW_ARRAY(arena, target->n_linears, struct rsr_kernel_desc);
    struct rsr_matrix_data *dense = RSRC_NEW_ARRAY(arena, graph->n_dense, struct rsr_matrix_data);
    struct rsr_tensors *tensors = RSRC_NEW_ARRAY(arena, 1, struct rsr_tensors);
    for (uint32_t i = 0; i < target->n_linears; i++)
        kernels[i] = (struct rsr_kernel_desc){.n_tiles = target->linears[i].n_tiles,
                                              .tile_rows = target->linears[i].tile_rows,
                                              .row_map = target->linears[i].row_map};
    for (uint32_t i = 0; i < graph->n_dense; i++)
        dense[i].rows = graph->dense[i].rows;
    *tensors = (struct rsr_tensors){.dense = dense, .head.rows = graph->hyper.vocab};
    return (struct rsr_target){.kernels = kernels, .tensors = tensors};
}

static void share_target(struct sharding *s, const struct rsr_module_target *target) {
    const struct rsr_target tables = describe_target(s, target);
    for (uint32_t i = 0; i < target->n_linears; i++) {
        const char *const whole[] = {target->linears[i].index, target->linears[i].scale};
        keep_all(s, whole, 2);
    }
    for (uint32_t n = 0; n < target->n_steps; n++) {
        const struct rsr_step_table step = {.ops = target->steps[n].ops,
                                            .n_ops = target->steps[n].n_ops};
        for (uint32_t i = 0; i < step.n_ops; i++)
            share_op(s, target, &tables, &step, i);
    }
}

/* ---- what is left out ------------------------------------------------------------------------ */

static int compare_ranges(const void *a, const void *b) {
    const struct rsrc_elf_range *x = a, *y = b;
    return x->begin < y->begin ? -1 : x->begin > y->begin;
}

/* The gaps between what is read of a blob. */
static void leave_out(const struct sharding *s, const struct rsrc_weights_blob *blob,
                      struct rsrc_elf_range *out, uint32_t *n_out) {
    uint64_t at = blob->at;
    const uint64_t end = at + blob->size_bytes;
    for (uint32_t i = 0; i < s->n_reads; i++) {
        const struct rsrc_elf_range *read = &s->reads[i];
        if (read->begin < blob->at || read->begin >= end)
            continue;
        if (read->begin > at)
            out[(*n_out)++] = (struct rsrc_elf_range){at, read->begin};
        at = read->end > at ? read->end : at;
    }
    if (at < end)
        out[(*n_out)++] = (struct rsrc_elf_range){at, end};
}

void rsrc_shard_weights(struct rsrc_compilation *c, const struct rsr_module_input *input) {
    struct rsrc_weights *weights = &c->weights;
    struct sharding s = {
        .c = c, .input = input, .is_shared = RSRC_NEW_ARRAY(&c->run.arena, weights->n_blobs, bool)};
    if (input->n_shards == 0)
        return;
    for (uint32_t t = 0; t < input->n_targets; t++)
        share_target(&s, &input->targets[t]);
    if (input->head_sketch.blocks != NULL)
        share_sketch(&s);
    const char *const whole[] = {input->embedding_symbol, input->head_sketch.centre,
                                 input->tokenizer_symbol};
    keep_all(&s, whole, sizeof(whole) / sizeof(whole[0]));
    keep_all(&s, input->norm_symbols, input->graph->n_norms);
    qsort(s.reads, s.n_reads, sizeof(*s.reads), compare_ranges);
    struct rsrc_elf_range *out =
        RSRC_NEW_ARRAY(&c->run.arena, (size_t)s.n_reads + weights->n_blobs, struct rsrc_elf_range);
    uint32_t n_out = 0;
    for (uint32_t i = 0; i < weights->n_blobs; i++)
        if (s.is_shared[i])
            leave_out(&s, &weights->blobs[i], out, &n_out);
    weights->elf.left_out = out;
    weights->elf.n_left_out = n_out;
}
