/* emit_ptx.c - compiles every distinct kernel of a unit once and joins the entries to one text.
 *
 * Layers of equal plans differ in nothing but their weights, which are parameters: their entry is the
 * same text under another name, as PTX has no aliases for entries. A cubin is compiled as a whole.
 */
#include "emit/ptx/emit_ptx.h"

#include <string.h>

#include "emit/llvm/nvptx.h"
#include "emit/ptx/cuda_unit.h"
#include "emit/ptx/nvrtc.h"

struct emitter {
    struct rsrc_diag *diag;
    struct rsrc_arena *arena;
    const struct rsrc_ptx_unit *unit;
    struct rsrc_nvrtc *nvrtc; /* NULL: LLVM */
    const char *compiler;
};

/* One compiled entry, as text. */
struct entry {
    const struct rsr_gpu_kernel *kernel;
    const char *header; /* .version, .target, .address_size */
    const char *body;   /* what follows */
};

/* ---- who compiles ---------------------------------------------------------------------------------- */

static enum rsrc_status choose_compiler(struct emitter *e) {
    const struct rsrc_ptx_unit *unit = e->unit;
    const char *places = NULL;
    const bool avoid = unit->cuda_path != NULL && strcmp(unit->cuda_path, "none") == 0;
    if (!avoid)
        e->nvrtc = rsrc_nvrtc_open(e->arena, unit->cuda_path, &places);
    if (e->nvrtc != NULL) {
        e->compiler = rsrc_nvrtc_name(e->arena, e->nvrtc);
        return RSRC_OK;
    }
    const char *nowhere = avoid ? "--cuda-path=none leaves it out"
                                : rsrc_arena_printf(e->arena, "looked in %s", places);
    const char *const help = "install CUDA or NVIDIA's package nvidia-cuda-nvrtc, or name its "
                             "directory with --cuda-path";
    if (unit->kind == RSR_UNIT_CUBIN || (!avoid && unit->cuda_path != NULL)) {
        rsrc_error(e->diag, "cuda-missing", NULL, help, "%s needs NVRTC (libnvrtc.so): %s",
                   unit->kind == RSR_UNIT_CUBIN ? "a cubin" : "--cuda-path", nowhere);
        return RSRC_FAILED;
    }
    if (!rsrc_nvptx_knows(unit->spec->cpu)) {
        rsrc_error(e->diag, "cuda-missing", NULL, help,
                   "LLVM does not know %s, and NVRTC (libnvrtc.so) was not found: %s",
                   unit->spec->cpu, nowhere);
        return RSRC_FAILED;
    }
    e->compiler = rsrc_nvptx_name(e->arena);
    return RSRC_OK;
}

/* ---- entries --------------------------------------------------------------------------------------- */

static bool same_code(const struct rsr_gpu_plan *a, const struct rsr_gpu_plan *b) {
    return a->codes == b->codes && a->rows == b->rows && a->cols == b->cols &&
           a->row_warps == b->row_warps && a->col_warps == b->col_warps && a->ahead == b->ahead &&
           a->token_tile == b->token_tile && a->scale_per_row == b->scale_per_row &&
           a->epilogue == b->epilogue;
}

/* PTX of one kernel; `out` is empty before. */
static enum rsrc_status compile_text(struct emitter *e, const struct rsr_gpu_kernel *kernel,
                                     struct rsrc_buffer *out) {
    if (e->nvrtc == NULL)
        return rsrc_nvptx_compile(e->diag, kernel, e->unit->spec, out);
    struct rsrc_buffer source = {0};
    rsrc_print_cuda_unit(kernel, 1, &source);
    const struct rsrc_nvrtc_job job = {source.data, e->unit->spec->gpu.sm, RSR_UNIT_PTX};
    const enum rsrc_status status = rsrc_nvrtc_compile(e->diag, e->arena, e->nvrtc, &job, out);
    rsrc_buffer_free(&source);
    return status;
}

/* The directives' lines, without the compiler's own comments; NULL if this is no PTX. */
static const char *header_of(struct rsrc_arena *arena, const char *text, const char **body) {
    const char *version = strstr(text, "\n.version");
    const char *size = version == NULL ? NULL : strstr(version, "\n.address_size");
    const char *end = size == NULL ? NULL : strchr(size + 1, '\n');
    if (end == NULL)
        return NULL;
    *body = rsrc_arena_strdup(arena, end + 1);
    return rsrc_arena_strndup(arena, version + 1, (size_t)(end + 1 - (version + 1)));
}

static enum rsrc_status compile_entry(struct emitter *e, const struct rsr_gpu_kernel *kernel,
                                      struct entry *out) {
    struct rsrc_buffer text = {0};
    enum rsrc_status status = compile_text(e, kernel, &text);
    if (status == RSRC_OK) {
        *out = (struct entry){.kernel = kernel};
        out->header = header_of(e->arena, text.data, &out->body);
        if (out->header == NULL) {
            rsrc_error(e->diag, "ptx-text", NULL, NULL, "%s made text that is no PTX", e->compiler);
            status = RSRC_FAILED;
        }
    }
    rsrc_buffer_free(&text);
    return status;
}

/* The body with one symbol in place of another. */
static void put_renamed(struct rsrc_buffer *out, const char *body, const char *from,
                        const char *to) {
    const size_t n = strlen(from);
    for (const char *next; (next = strstr(body, from)) != NULL; body = next + n) {
        rsrc_buffer_append(out, body, (size_t)(next - body));
        rsrc_buffer_puts(out, to);
    }
    rsrc_buffer_puts(out, body);
}

static void put_title(const struct emitter *e, struct rsrc_buffer *out) {
    rsrc_buffer_puts(out, "// ");
    rsrc_buffer_put_comment(out, e->unit->title);
    rsrc_buffer_printf(out, " for %s, compiled by rsrc " RSRC_VERSION " with %s\n",
                       e->unit->spec->name, e->compiler);
}

static enum rsrc_status emit_text(struct emitter *e, struct rsrc_buffer *out) {
    const struct rsrc_ptx_unit *unit = e->unit;
    struct entry *entries = RSRC_NEW_ARRAY(e->arena, unit->n_kernels, struct entry);
    uint32_t n_entries = 0;
    put_title(e, out);
    for (uint32_t i = 0; i < unit->n_kernels; i++) {
        const struct rsr_gpu_kernel *kernel = &unit->kernels[i];
        uint32_t k = 0;
        while (k < n_entries && !same_code(entries[k].kernel->plan, kernel->plan))
            k++;
        if (k == n_entries) {
            if (compile_entry(e, kernel, &entries[k]) != RSRC_OK)
                return RSRC_FAILED;
            n_entries++;
        }
        if (i == 0)
            rsrc_buffer_puts(out, entries[0].header);
        rsrc_buffer_puts(out, "\n");
        rsrc_print_gpu_comment(kernel, out);
        put_renamed(out, entries[k].body, entries[k].kernel->symbol, kernel->symbol);
    }
    return RSRC_OK;
}

static enum rsrc_status emit_cubin(struct emitter *e, struct rsrc_buffer *out) {
    struct rsrc_buffer source = {0};
    put_title(e, &source);
    rsrc_print_cuda_unit(e->unit->kernels, e->unit->n_kernels, &source);
    const struct rsrc_nvrtc_job job = {source.data, e->unit->spec->gpu.sm, RSR_UNIT_CUBIN};
    const enum rsrc_status status = rsrc_nvrtc_compile(e->diag, e->arena, e->nvrtc, &job, out);
    rsrc_buffer_free(&source);
    return status;
}

enum rsrc_status rsrc_emit_ptx(struct rsrc_diag *diag, struct rsrc_arena *arena,
                               const struct rsrc_ptx_unit *unit, struct rsrc_buffer *out) {
    struct emitter e = {.diag = diag, .arena = arena, .unit = unit};
    if (choose_compiler(&e) != RSRC_OK)
        return RSRC_FAILED;
    rsrc_diag_emit(diag, RSRC_REMARK, "ptx", NULL, NULL, "%u kernels for %s compiled by %s",
                   unit->n_kernels, unit->spec->name, e.compiler);
    const enum rsrc_status status =
        unit->kind == RSR_UNIT_PTX ? emit_text(&e, out) : emit_cubin(&e, out);
    if (e.nvrtc != NULL)
        rsrc_nvrtc_close(e.nvrtc);
    return status;
}
