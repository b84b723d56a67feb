/* layer_gpu.c - writes the kernels of a GPU as PTX or a cubin.
 *
 * One file has the kernels of all layers. A directory has three files per layer: the kernel, and
 * the raw little-endian data of its parameters `codes` and `scale`.
 */
#include "driver/layer.h"
#include "emit/ptx/cubin.h"

/* ---- a layer --------------------------------------------------------------------------------- */

/* Writes the data that the kernel reads beside it in the directory. */
static enum rsrc_status write_weights(struct rsrc_layer_state *state,
                                      const struct rsr_lowered *lowered) {
    struct rsrc_compilation *c = state->compilation;
    const char *dir = c->outputs.temporary_dir, *symbol = lowered->kernel.symbol;
    if (rsrc_write_file(c->run.diag, dir, rsrc_arena_printf(&state->arena, "%s.codes", symbol),
                        lowered->codes.bytes, lowered->codes.size_bytes) != RSRC_OK)
        return RSRC_FAILED;
    if (lowered->kernel.matvec->epilogue == RSR_EPILOGUE_RAW)
        return RSRC_OK;
    return rsrc_write_file(c->run.diag, dir, rsrc_arena_printf(&state->arena, "%s.scale", symbol),
                           state->matrix.scale, state->matrix.n_scales * sizeof(float));
}

enum rsrc_status rsrc_layer_write_gpu(struct rsrc_layer_state *state) {
    struct rsrc_compilation *c = state->compilation;
    struct rsrc_arena *arena = &c->run.arena;
    const struct rsr_lowered *lowered = rsrc_lowered_of(state, 0, RSR_REGIME_DECODE);
    struct rsr_matvec *matvec = RSRC_NEW(arena, struct rsr_matvec);
    *matvec = *lowered->kernel.matvec;
    c->made.gpu_kernels[state->item_index] =
        (struct rsr_kernel){.symbol = rsrc_arena_strdup(arena, lowered->kernel.symbol),
                            .title = rsrc_arena_strdup(arena, lowered->kernel.title),
                            .reason = rsrc_arena_strdup(arena, lowered->kernel.reason),
                            .matvec = matvec};
    c->made.reports[state->item_index].launch =
        (struct rsr_report_launch){.symbol = c->made.gpu_kernels[state->item_index].symbol,
                                   .blocks = matvec->blocks,
                                   .threads = 32 * matvec->row_warps * matvec->col_warps};
    return c->outputs.dir != NULL ? write_weights(state, lowered) : RSRC_OK;
}

/* ---- kernels --------------------------------------------------------------------------------- */

/* Reads what a cubin says about its kernels. */
static void note_registers(struct rsrc_compilation *c, const struct rsrc_buffer *cubin,
                           uint32_t first, uint32_t n) {
    for (uint32_t i = first; i < first + n; i++)
        c->made.reports[i].launch.registers =
            rsrc_cubin_registers(cubin->data, cubin->size_bytes, c->made.gpu_kernels[i].symbol);
}

/* Writes n kernels: as a file of the directory, or as the one file that has all. */
static enum rsrc_status emit_unit(struct rsrc_compilation *c, const struct rsrc_kind *kind,
                                  struct rsrc_ptx *ptx, uint32_t first, uint32_t n) {
    const struct rsr_kernel *kernels = &c->made.gpu_kernels[first];
    const char *dir = c->outputs.temporary_dir;
    struct rsrc_buffer out = {0};
    enum rsrc_status status = rsrc_ptx_emit(ptx, kernels, n, &out);
    if (status == RSRC_OK && kind->unit == RSR_UNIT_CUBIN)
        note_registers(c, &out, first, n);
    if (status == RSRC_OK && dir == NULL)
        status = rsrc_sink_write(&c->run, &c->units.kinds[kind->unit].sink, &out);
    else if (status == RSRC_OK)
        status =
            rsrc_write_file(c->run.diag, dir,
                            rsrc_arena_printf(&c->run.arena, "%s%s", kernels->symbol, kind->suffix),
                            out.data, out.size_bytes);
    rsrc_buffer_free(&out);
    return status;
}

static enum rsrc_status emit_kind(struct rsrc_compilation *c, const struct rsrc_kind *kind) {
    const struct rsrc_ptx_store store = rsrc_ptx_store(&c->inputs);
    const struct rsrc_ptx_options options = {.title = rsrc_model_name(&c->inputs),
                                             .spec = &c->inputs.specs[0],
                                             .kind = kind->unit,
                                             .cuda_path = c->run.options->cuda_path,
                                             .cuda_cc = c->run.options->cuda_cc,
                                             .spawn = &c->run.toolchain.compiling,
                                             .store = &store};
    const uint32_t n_items = c->inputs.n_items, n = c->outputs.dir != NULL ? 1 : n_items;
    struct rsrc_ptx *ptx = NULL;
    if (rsrc_ptx_open(c->run.diag, &c->run.arena, &options, c->made.gpu_kernels, n_items, &ptx) !=
        RSRC_OK)
        return RSRC_FAILED;
    enum rsrc_status status = RSRC_OK;
    for (uint32_t i = 0; i < n_items && status == RSRC_OK; i += n)
        status = emit_unit(c, kind, ptx, i, n);
    rsrc_ptx_close(ptx);
    return status;
}

enum rsrc_status rsrc_emit_gpu(struct rsrc_compilation *c) {
    for (uint32_t k = 0; k < RSRC_KIND_COUNT; k++)
        if (rsrc_wants(&c->run, rsrc_kinds[k].emit) && rsrc_kinds[k].unit != RSR_UNIT_KIND_COUNT &&
            emit_kind(c, &rsrc_kinds[k]) != RSRC_OK)
            return RSRC_FAILED;
    return RSRC_OK;
}
