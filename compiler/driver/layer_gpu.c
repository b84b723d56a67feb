/* layer_gpu.c - keeps the kernels of GPUs until all layers have passed, because kernels of equal
 * code are compiled once, and writes what they read.
 *
 * A directory gets the raw little-endian data of their parameters `codes` and `scale`; a module
 * gets the data as weights.
 */
#include "driver/layer.h"
#include "emit/ptx/cuda_unit.h"

/* Writes the data that the kernel reads beside it in the directory. */
static enum rsrc_status write_files(struct rsrc_layer_state *state,
                                    const struct rsr_lowered *lowered) {
    struct rsrc_compilation *c = state->compilation;
    const char *dir = c->outputs.temporary_dir, *symbol = lowered->kernel.symbol;
    if (!c->units.kinds[RSR_UNIT_PTX].active && !c->units.kinds[RSR_UNIT_CUBIN].active)
        return RSRC_OK;
    if (rsrc_write_file(c->run.diag, dir, rsrc_arena_printf(&state->arena, "%s.codes", symbol),
                        lowered->codes.bytes, lowered->codes.size_bytes) != RSRC_OK)
        return RSRC_FAILED;
    if (lowered->kernel.matvec->epilogue == RSR_EPILOGUE_RAW)
        return RSRC_OK;
    return rsrc_write_file(c->run.diag, dir, rsrc_arena_printf(&state->arena, "%s.scale", symbol),
                           state->matrix.scale, state->matrix.n_scales * sizeof(float));
}

/* Bodies without their comments. */
static void keep_bodies(struct rsrc_arena *arena, const struct rsr_kernel *kernel,
                        struct rsr_kernel *out) {
    out->body_regs = RSRC_NEW_ARRAY(arena, kernel->n_body_regs, struct rsr_kreg);
    out->n_body_regs = kernel->n_body_regs;
    for (uint32_t r = 0; r < kernel->n_body_regs; r++) {
        out->body_regs[r] = kernel->body_regs[r];
        out->body_regs[r].name = rsrc_arena_strdup(arena, kernel->body_regs[r].name);
    }
    out->bodies = RSRC_NEW_ARRAY(arena, kernel->n_bodies, struct rsr_kbody);
    out->n_bodies = kernel->n_bodies;
    for (uint32_t b = 0; b < kernel->n_bodies; b++) {
        const struct rsr_kbody *body = &kernel->bodies[b];
        struct rsr_kbody *kept = &out->bodies[b];
        kept->ops = RSRC_NEW_ARRAY(arena, body->n_ops, struct rsr_kop);
        for (uint32_t i = 0; i < body->n_ops; i++)
            if (body->ops[i].kind != RSR_KOP_COMMENT)
                kept->ops[kept->n_ops++] = body->ops[i];
    }
}

/* What outlives the layer. */
static struct rsr_kernel keep_kernel(struct rsrc_arena *arena, const struct rsr_kernel *kernel) {
    struct rsr_matvec *matvec = RSRC_NEW(arena, struct rsr_matvec);
    *matvec = *kernel->matvec;
    struct rsr_kernel kept = {.symbol = rsrc_arena_strdup(arena, kernel->symbol),
                              .key = rsrc_arena_strdup(arena, kernel->key),
                              .title = rsrc_arena_strdup(arena, kernel->title),
                              .reason = rsrc_arena_strdup(arena, kernel->reason),
                              .spec = kernel->spec,
                              .rows = kernel->rows,
                              .cols = kernel->cols,
                              .matvec = matvec};
    keep_bodies(arena, kernel, &kept);
    return kept;
}

enum rsrc_status rsrc_keep_gpu_kernel(struct rsrc_layer_state *state, uint32_t target,
                                      uint32_t regime, struct rsr_linear_unit *linear) {
    struct rsrc_compilation *c = state->compilation;
    const struct rsr_lowered *lowered = rsrc_lowered_of(state, target, regime);
    const size_t item = (size_t)target * c->inputs.n_items + state->item_index;
    struct rsr_kernel *kernel = &c->made.gpu_kernels[item * RSR_REGIME_COUNT + regime];
    *kernel = keep_kernel(&c->run.arena, &lowered->kernel);
    linear->rows = kernel->matvec->rows;
    linear->cols = kernel->matvec->cols;
    linear->epilogue = kernel->matvec->epilogue;
    linear->codes_bytes = lowered->codes.size_bytes;
    linear->index_bytes = lowered->index.size_bytes;
    linear->n_entries = rsrc_list_gpu_entries(&c->run.arena, kernel, &linear->entries);
    if (regime == RSR_REGIME_DECODE)
        c->made.reports[item].launch =
            (struct rsr_report_launch){.symbol = linear->entries[0].symbol,
                                       .blocks = linear->entries[0].blocks,
                                       .threads = linear->entries[0].threads};
    /* All kernels of a layer read the same codes. */
    return c->outputs.dir != NULL && regime == RSR_REGIME_DECODE ? write_files(state, lowered)
                                                                 : RSRC_OK;
}
