/* step_text.c - the text form of steps: what --dump=schedule prints and --from=step reads.
 *
 *   steps 1
 *   step "any" tokens 1 .. 4294967295 arena 12800
 *     buffer x cols 64 row_bytes 256 offset 0
 *     embed       x <-
 *     norm        normed <- x : norm 0 "model.layers.0.input_layernorm" block 0
 *     quant       act <- normed block 0 | token barrier
 *     linear      q <- act : kernel 0 "model.layers.0.self_attn.q_proj" block 0
 *   end step
 *
 * Names of layers and norms are for the reader; the parser uses the numbers. The text is untrusted:
 * the parser checks that every buffer is declared and every number in range, and then
 * rsrc_find_step_problem checks the whole step.
 */
#include <inttypes.h>
#include <string.h>

#include "base/text_scan.h"
#include "schedule/schedule.h"

#define NONE RSR_NO_BUFFER
#define MAX_OPS (1u << 20)
/* The limit matters because operations that no barrier separates are compared pairwise. */
#define MAX_RUN 64u
#define MAX_ROW_BYTES (1u << 30)
#define MAX_OFFSET (UINT64_C(1) << 40)

static const char *const OP_NAMES[RSR_OP_KIND_COUNT] = {
#define OP_NAME(id, name) [RSR_OP_##id] = name,
    RSR_OP_KINDS(OP_NAME)
#undef OP_NAME
};

/* The meaning of an operation's number; word NULL: it has no number. An optional number is not
 * printed if it equals `absent`. */
static const struct arg_form {
    const char *word;
    bool named; /* a name follows the number */
    bool optional;
    uint32_t absent;
} ARG_FORMS[RSR_OP_KIND_COUNT] = {
    [RSR_OP_ROPE_TABLE] = {.word = "rope", .optional = true, .absent = 0},
    [RSR_OP_NORM] = {.word = "norm", .named = true},
    [RSR_OP_LINEAR] = {.word = "kernel", .named = true},
    [RSR_OP_ROPE_APPEND] = {.word = "norms", .optional = true, .absent = RSR_NO_NORM},
    [RSR_OP_ATTENTION] = {.word = "window", .optional = true, .absent = 0},
    [RSR_OP_HEAD] = {.word = "kernel", .named = true, .optional = true, .absent = RSR_NO_KERNEL},
    [RSR_OP_DENSE] = {.word = "dense", .named = true},
    [RSR_OP_DELTA] = {.word = "delta", .named = false},
    [RSR_OP_ROTATE] = {.word = "rotation"},
    [RSR_OP_UNROTATE] = {.word = "rotation"},
};

static bool has_arg(const struct rsr_step_op *op) {
    const struct arg_form *form = &ARG_FORMS[op->kind];
    return form->word != NULL && !(form->optional && op->arg == form->absent);
}

/* These are numbered by layer; the number is not printed if it equals that of the block. */
static bool has_layer(const struct rsr_step_op *op) {
    return op->kind == RSR_OP_ROPE_APPEND || op->kind == RSR_OP_ATTENTION ||
           op->kind == RSR_OP_DELTA;
}

/* ---- printing
 * -------------------------------------------------------------------------------------- */

static void put_op(const struct rsr_step *step, const struct rsr_step_op *op, const char *name,
                   struct rsrc_buffer *out) {
    rsrc_buffer_printf(out, "  %-11s", OP_NAMES[op->kind]);
    if (op->dst != NONE)
        rsrc_buffer_printf(out, " %s <-", step->buffers[op->dst].name);
    for (uint32_t i = 0; i < 4; i++)
        if (op->src[i] != NONE)
            rsrc_buffer_printf(out, " %s", step->buffers[op->src[i]].name);
    if (has_arg(op))
        rsrc_buffer_printf(out, " : %s %" PRIu32, ARG_FORMS[op->kind].word, op->arg);
    if (has_arg(op) && ARG_FORMS[op->kind].named) {
        rsrc_buffer_puts(out, " ");
        rsrc_buffer_put_c_string(out, name);
    }
    if (op->block != RSR_NO_BLOCK)
        rsrc_buffer_printf(out, " block %" PRIu32, op->block);
    if (has_layer(op) && op->layer != op->block)
        rsrc_buffer_printf(out, " layer %u", op->layer);
    rsrc_buffer_puts(out, (op->flags & RSR_OP_TOKEN_BARRIER) != 0 ? " | token barrier\n"
                          : (op->flags & RSR_OP_BARRIER) != 0     ? " | barrier\n"
                                                                  : "\n");
}

static void put_step_head(const struct rsr_step *step, struct rsrc_buffer *out) {
    rsrc_buffer_puts(out, "steps 1\nstep ");
    rsrc_buffer_put_c_string(out, step->regime);
    rsrc_buffer_printf(out, " tokens %" PRIu32 " .. %" PRIu32 " arena %" PRIu64 "\n",
                       step->min_tokens, step->max_tokens, step->arena_bytes_per_token);
    for (uint32_t b = 0; b < step->n_buffers; b++)
        rsrc_buffer_printf(
            out, "  buffer %-10s cols %" PRIu32 " row_bytes %" PRIu32 " offset %" PRIu64 "\n",
            step->buffers[b].name, step->buffers[b].cols, step->buffers[b].row_bytes,
            step->buffers[b].offset);
}

/* NULL: the operation has no name. */
static const char *arg_name(const struct rsr_graph *graph, const struct rsrc_step_kernels *kernels,
                            const struct rsr_step_op *op) {
    if (!has_arg(op) || !ARG_FORMS[op->kind].named)
        return NULL;
    if (op->kind == RSR_OP_NORM)
        return graph->norms[op->arg].name;
    return op->kind == RSR_OP_DENSE ? graph->dense[op->arg].name
                                    : graph->layers[kernels->layer[op->arg]].name;
}

void rsrc_print_step(const struct rsr_graph *graph, const struct rsrc_step_kernels *kernels,
                     const struct rsr_step *step, struct rsrc_buffer *out) {
    put_step_head(step, out);
    for (uint32_t i = 0; i < step->n_ops; i++) {
        const struct rsr_step_op *op = &step->ops[i];
        put_op(step, op, arg_name(graph, kernels, op), out);
    }
    rsrc_buffer_puts(out, "end step\n");
}

void rsrc_print_parsed_step(const struct rsr_parsed_step *parsed, struct rsrc_buffer *out) {
    const struct rsr_step *step = &parsed->step;
    put_step_head(step, out);
    for (uint32_t i = 0; i < step->n_ops; i++)
        put_op(step, &step->ops[i], parsed->names[i], out);
    rsrc_buffer_puts(out, "end step\n");
}

/* ---- parsing
 * --------------------------------------------------------------------------------------- */

/* buffer x cols 64 row_bytes 256 offset 0 */
static enum rsrc_status parse_buffer(struct rsrc_scan *scan, struct rsr_step *step) {
    char name[RSRC_SCAN_NAME_BYTES];
    if (step->n_buffers == RSRC_MAX_STEP_BUFFERS)
        return rsrc_scan_error(scan, "more than %u buffers", RSRC_MAX_STEP_BUFFERS);
    struct rsr_buffer *buffer = &step->buffers[step->n_buffers];
    if (rsrc_scan_word(scan, "buffer") != RSRC_OK ||
        rsrc_scan_identifier(scan, "the buffer's name", name) != RSRC_OK)
        return RSRC_FAILED;
    for (uint32_t b = 0; b < step->n_buffers; b++)
        if (strcmp(step->buffers[b].name, name) == 0)
            return rsrc_scan_error(scan, "buffer '%s' is there twice", name);
    if (strcmp(name, "block") == 0)
        return rsrc_scan_error(scan, "a buffer cannot be called 'block'");
    if (rsrc_scan_word(scan, "cols") != RSRC_OK ||
        rsrc_scan_u32(scan, "cols", 1, UINT32_MAX, &buffer->cols) != RSRC_OK ||
        rsrc_scan_word(scan, "row_bytes") != RSRC_OK ||
        rsrc_scan_u32(scan, "row_bytes", 64, MAX_ROW_BYTES, &buffer->row_bytes) != RSRC_OK ||
        rsrc_scan_word(scan, "offset") != RSRC_OK ||
        rsrc_scan_u64(scan, "the offset", 0, MAX_OFFSET, &buffer->offset) != RSRC_OK)
        return RSRC_FAILED;
    if (buffer->row_bytes % 64 != 0 || buffer->offset % 64 != 0)
        return rsrc_scan_error(scan, "row_bytes and offset must be multiples of 64");
    buffer->name = rsrc_arena_strdup(scan->arena, name);
    step->n_buffers++;
    return rsrc_scan_line_end(scan);
}

static enum rsrc_status parse_buffer_name(struct rsrc_scan *scan, const struct rsr_step *step,
                                          uint16_t *out) {
    char name[RSRC_SCAN_NAME_BYTES];
    const struct rsrc_scan start = *scan;
    if (rsrc_scan_identifier(scan, "the buffer", name) != RSRC_OK)
        return RSRC_FAILED;
    for (uint32_t b = 0; b < step->n_buffers; b++)
        if (strcmp(step->buffers[b].name, name) == 0) {
            *out = (uint16_t)b;
            return RSRC_OK;
        }
    *scan = start;
    return rsrc_scan_error(scan, "no buffer is called '%s'", name);
}

/* q <- act, or the sources alone */
static enum rsrc_status parse_operands(struct rsrc_scan *scan, const struct rsr_step *step,
                                       struct rsr_step_op *op) {
    for (uint32_t n = 0; !rsrc_scan_at_line_end(scan) && !rsrc_scan_at_symbol(scan, ":") &&
                         !rsrc_scan_at_symbol(scan, "|") && !rsrc_scan_at_word(scan, "block");
         n++) {
        uint16_t buffer = NONE;
        if (n == 4)
            return rsrc_scan_error(scan, "an operation has at most four sources");
        if (parse_buffer_name(scan, step, &buffer) != RSRC_OK)
            return RSRC_FAILED;
        if (n == 0 && op->dst == NONE && rsrc_scan_at_symbol(scan, "<-")) {
            if (rsrc_scan_symbol(scan, "<-") != RSRC_OK)
                return RSRC_FAILED;
            op->dst = buffer;
            n = UINT32_MAX; /* the sources begin here */
        } else {
            op->src[n] = buffer;
        }
    }
    return RSRC_OK;
}

/* : kernel 0 "model.layers.0.self_attn.q_proj" */
static enum rsrc_status parse_arg(struct rsrc_scan *scan, struct rsr_step_op *op,
                                  const char **name) {
    const struct arg_form *form = &ARG_FORMS[op->kind];
    if (form->word == NULL)
        return RSRC_OK;
    op->arg = form->absent;
    if (form->optional && !rsrc_scan_at_symbol(scan, ":"))
        return RSRC_OK;
    if (rsrc_scan_symbol(scan, ":") != RSRC_OK || rsrc_scan_word(scan, form->word) != RSRC_OK ||
        rsrc_scan_u32(scan, form->word, 0, UINT32_MAX - 1, &op->arg) != RSRC_OK)
        return RSRC_FAILED;
    return form->named ? rsrc_scan_string(scan, "its name", name) : RSRC_OK;
}

static enum rsrc_status parse_layer(struct rsrc_scan *scan, struct rsr_step_op *op) {
    uint32_t layer = op->block & UINT16_MAX;
    if (rsrc_scan_at_word(scan, "layer") &&
        (rsrc_scan_word(scan, "layer") != RSRC_OK ||
         rsrc_scan_u32(scan, "the layer", 0, UINT16_MAX, &layer) != RSRC_OK))
        return RSRC_FAILED;
    op->layer = (uint16_t)layer;
    return RSRC_OK;
}

static enum rsrc_status parse_op(struct rsrc_scan *scan, const struct rsr_step *step,
                                 struct rsr_step_op *op, const char **name) {
    uint32_t kind;
    if (rsrc_scan_name(scan, "operation", OP_NAMES, RSR_OP_KIND_COUNT, &kind) != RSRC_OK)
        return RSRC_FAILED;
    *op = (struct rsr_step_op){.kind = (uint16_t)kind,
                               .block = RSR_NO_BLOCK,
                               .dst = NONE,
                               .src = {NONE, NONE, NONE, NONE}};
    if (parse_operands(scan, step, op) != RSRC_OK)
        return RSRC_FAILED;
    if (parse_arg(scan, op, name) != RSRC_OK)
        return RSRC_FAILED;
    if (rsrc_scan_at_word(scan, "block") &&
        (rsrc_scan_word(scan, "block") != RSRC_OK ||
         rsrc_scan_u32(scan, "the block", 0, RSR_NO_BLOCK - 1, &op->block) != RSRC_OK))
        return RSRC_FAILED;
    if (has_layer(op) && parse_layer(scan, op) != RSRC_OK)
        return RSRC_FAILED;
    if (rsrc_scan_at_symbol(scan, "|")) {
        if (rsrc_scan_symbol(scan, "|") != RSRC_OK)
            return RSRC_FAILED;
        const bool of_tokens = rsrc_scan_at_word(scan, "token");
        if ((of_tokens && rsrc_scan_word(scan, "token") != RSRC_OK) ||
            rsrc_scan_word(scan, "barrier") != RSRC_OK)
            return RSRC_FAILED;
        op->flags = of_tokens ? RSR_OP_BARRIER | RSR_OP_TOKEN_BARRIER : RSR_OP_BARRIER;
    }
    return rsrc_scan_line_end(scan);
}

/* `places` gets the places where the operations begin. */
static enum rsrc_status parse_ops(struct rsrc_scan *scan, struct rsr_parsed_step *out,
                                  const char ***places) {
    struct rsr_step *step = &out->step;
    uint32_t capacity = 0, run = 0;
    while (!rsrc_scan_at_word(scan, "end")) {
        if (step->n_ops == MAX_OPS || run == MAX_RUN)
            return rsrc_scan_error(scan, "more than %u operations%s",
                                   run == MAX_RUN ? MAX_RUN : MAX_OPS,
                                   run == MAX_RUN ? " without a barrier" : "");
        if (step->n_ops == capacity) {
            const struct rsr_parsed_step old = *out;
            const char *const *const old_places = *places;
            capacity = capacity == 0 ? 64 : 2 * capacity;
            step->ops = RSRC_NEW_ARRAY(scan->arena, capacity, struct rsr_step_op);
            out->names = RSRC_NEW_ARRAY(scan->arena, capacity, const char *);
            *places = RSRC_NEW_ARRAY(scan->arena, capacity, const char *);
            for (uint32_t i = 0; i < step->n_ops; i++) {
                step->ops[i] = old.step.ops[i];
                out->names[i] = old.names[i];
                (*places)[i] = old_places[i];
            }
        }
        struct rsr_step_op *op = &step->ops[step->n_ops];
        (*places)[step->n_ops] = scan->at;
        if (parse_op(scan, step, op, &out->names[step->n_ops]) != RSRC_OK)
            return RSRC_FAILED;
        run = (op->flags & RSR_OP_TOKEN_BARRIER) == 0 && (op->flags & RSR_OP_BARRIER) != 0
                  ? 0
                  : run + 1;
        step->n_ops++;
    }
    if (rsrc_scan_word(scan, "end") != RSRC_OK || rsrc_scan_word(scan, "step") != RSRC_OK)
        return RSRC_FAILED;
    return rsrc_scan_line_end(scan);
}

/* step "any" tokens 1 .. 4294967295 arena 12800 */
static enum rsrc_status parse_step_line(struct rsrc_scan *scan, struct rsr_step *step) {
    if (rsrc_scan_word(scan, "step") != RSRC_OK ||
        rsrc_scan_string(scan, "the regime", &step->regime) != RSRC_OK ||
        rsrc_scan_word(scan, "tokens") != RSRC_OK ||
        rsrc_scan_u32(scan, "the fewest tokens", 1, UINT32_MAX, &step->min_tokens) != RSRC_OK ||
        rsrc_scan_word(scan, "..") != RSRC_OK ||
        rsrc_scan_u32(scan, "the most tokens", step->min_tokens, UINT32_MAX, &step->max_tokens) !=
            RSRC_OK ||
        rsrc_scan_word(scan, "arena") != RSRC_OK ||
        rsrc_scan_u64(scan, "arena", 0, 2 * MAX_OFFSET, &step->arena_bytes_per_token) != RSRC_OK)
        return RSRC_FAILED;
    return rsrc_scan_line_end(scan);
}

/* Checks what no single line shows. Kernels and norms are not in the text, so any number of one is
 * accepted. The step begins at `start`. */
static enum rsrc_status verify(const struct rsrc_scan *start, const char *const *places,
                               const struct rsr_step *step) {
    const struct rsr_graph graph = {.n_norms = UINT32_MAX,
                                    .n_dense = UINT32_MAX,
                                    .n_ropes = UINT32_MAX,
                                    .n_deltas = UINT32_MAX,
                                    .n_rotations = UINT32_MAX};
    const struct rsrc_step_kernels kernels = {.n_kernels = UINT32_MAX};
    const struct rsrc_step_problem problem = rsrc_find_step_problem(&graph, &kernels, step);
    if (problem.what == NULL)
        return RSRC_OK;
    struct rsrc_scan scan = *start;
    if (problem.op != RSRC_NO_STEP_OP)
        rsrc_scan_advance(&scan, places[problem.op]);
    return rsrc_scan_error(&scan, "%s '%s'", problem.what, problem.buffer);
}

static enum rsrc_status parse_step(struct rsrc_scan *scan, void *record) {
    struct rsr_parsed_step *out = record;
    const struct rsrc_scan start = *scan;
    const char **places = NULL;
    *out = (struct rsr_parsed_step){0};
    out->step.buffers = RSRC_NEW_ARRAY(scan->arena, RSRC_MAX_STEP_BUFFERS, struct rsr_buffer);
    if (parse_step_line(scan, &out->step) != RSRC_OK)
        return RSRC_FAILED;
    while (rsrc_scan_at_word(scan, "buffer"))
        if (parse_buffer(scan, &out->step) != RSRC_OK)
            return RSRC_FAILED;
    if (parse_ops(scan, out, &places) != RSRC_OK)
        return RSRC_FAILED;
    return verify(&start, places, &out->step);
}

enum rsrc_status rsrc_parse_steps(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                  const char *file, const char *text, uint64_t size_bytes,
                                  struct rsr_parsed_step **out, uint32_t *n_out) {
    static const struct rsrc_text_form FORM = {"step-text", "steps", "1", sizeof **out, parse_step};
    void *records;
    if (rsrc_scan_text(diag, arena, file, text, size_bytes, &FORM, &records, n_out) != RSRC_OK)
        return RSRC_FAILED;
    *out = records;
    return RSRC_OK;
}
