/* emit_ptx.c - compiles every distinct kernel of a unit once and joins the entries to one text.
 *
 * Layers with equal plans differ only in their weights, which are parameters. Their entries are
 * equal texts with different names, because PTX has no aliases for entries. A cubin is compiled as
 * a whole.
 */
#include "emit/ptx/emit_ptx.h"

#include <string.h>

#include "emit/llvm/nvptx.h"
#include "emit/ptx/cuda_unit.h"
#include "emit/ptx/nvrtc.h"

/* One compiled entry, as text. */
struct entry {
    struct rsr_matvec matvec;
    const char *symbol;
    const char *header; /* .version, .target, .address_size */
    const char *body;   /* what follows */
    struct entry *next;
};

struct rsrc_ptx {
    struct rsrc_diag *diag;
    struct rsrc_arena *arena;
    const struct rsrc_ptx_options *options;
    struct rsrc_nvrtc *nvrtc; /* NULL: LLVM */
    const char *compiler;
    struct entry *entries; /* newest first */
};

/* ---- who compiles ---------------------------------------------------------------------------- */

static enum rsrc_status choose_compiler(struct rsrc_ptx *e) {
    const struct rsrc_ptx_options *options = e->options;
    const char *places = NULL;
    const bool avoid = options->cuda_path != NULL && strcmp(options->cuda_path, "none") == 0;
    if (!avoid)
        e->nvrtc = rsrc_nvrtc_open(e->arena, options->cuda_path, &places);
    if (e->nvrtc != NULL) {
        e->compiler = rsrc_nvrtc_name(e->arena, e->nvrtc);
        return RSRC_OK;
    }
    const char *nowhere = avoid ? "--cuda-path=none leaves it out"
                                : rsrc_arena_printf(e->arena, "looked in %s", places);
    const char *const help = "install CUDA or NVIDIA's package nvidia-cuda-nvrtc, or name its "
                             "directory with --cuda-path";
    if (options->kind == RSR_UNIT_CUBIN || (!avoid && options->cuda_path != NULL))
        return rsrc_refuse(e->diag, "cuda-missing", NULL, help, "%s needs NVRTC (libnvrtc.so): %s",
                           options->kind == RSR_UNIT_CUBIN ? "a cubin" : "--cuda-path", nowhere);
    if (!rsrc_nvptx_knows(options->spec->cpu))
        return rsrc_refuse(e->diag, "cuda-missing", NULL, help,
                           "LLVM does not know %s, and NVRTC (libnvrtc.so) was not found: %s",
                           options->spec->cpu, nowhere);
    e->compiler = rsrc_nvptx_name(e->arena);
    return RSRC_OK;
}

/* ---- entries --------------------------------------------------------------------------------- */

static bool same_code(const struct rsr_matvec *a, const struct rsr_matvec *b) {
    return a->codes == b->codes && a->rows == b->rows && a->cols == b->cols &&
           a->row_warps == b->row_warps && a->col_warps == b->col_warps && a->ahead == b->ahead &&
           a->token_tile == b->token_tile && a->scale_per_row == b->scale_per_row &&
           a->epilogue == b->epilogue;
}

/* PTX of one kernel; `out` is empty before. */
static enum rsrc_status compile_text(struct rsrc_ptx *e, const struct rsr_kernel *kernel,
                                     struct rsrc_buffer *out) {
    if (e->nvrtc == NULL)
        return rsrc_nvptx_compile(e->diag, kernel, e->options->spec, out);
    struct rsrc_buffer source = {0};
    rsrc_print_cuda_unit(kernel, 1, &source);
    const struct rsrc_nvrtc_job job = {source.data, e->options->spec->gpu.sm, RSR_UNIT_PTX};
    const enum rsrc_status status = rsrc_nvrtc_compile(e->diag, e->arena, e->nvrtc, &job, out);
    rsrc_buffer_free(&source);
    return status;
}

/* The lines of directives, without the compiler's own comments; *body is the text after them. NULL:
 * the text is not PTX. */
static const char *header_of(struct rsrc_arena *arena, const char *text, const char **body) {
    const char *version = strstr(text, "\n.version");
    const char *size = version == NULL ? NULL : strstr(version, "\n.address_size");
    const char *end = size == NULL ? NULL : strchr(size + 1, '\n');
    if (end == NULL)
        return NULL;
    *body = rsrc_arena_strdup(arena, end + 1);
    return rsrc_arena_strndup(arena, version + 1, (size_t)(end + 1 - (version + 1)));
}

static enum rsrc_status compile_entry(struct rsrc_ptx *e, const struct rsr_kernel *kernel,
                                      struct entry **out) {
    struct rsrc_buffer text = {0};
    enum rsrc_status status = compile_text(e, kernel, &text);
    if (status == RSRC_OK) {
        struct entry *entry = RSRC_NEW(e->arena, struct entry);
        *entry = (struct entry){.matvec = *kernel->matvec,
                                .symbol = rsrc_arena_strdup(e->arena, kernel->symbol),
                                .next = e->entries};
        entry->header = header_of(e->arena, text.data, &entry->body);
        if (entry->header == NULL) {
            rsrc_error(e->diag, "ptx-text", NULL, NULL, "%s made text that is no PTX", e->compiler);
            status = RSRC_FAILED;
        }
        e->entries = entry;
        *out = entry;
    }
    rsrc_buffer_free(&text);
    return status;
}

/* The entry of an equal plan; compiles it if there is none yet. */
static enum rsrc_status find_entry(struct rsrc_ptx *e, const struct rsr_kernel *kernel,
                                   struct entry **out) {
    for (struct entry *entry = e->entries; entry != NULL; entry = entry->next)
        if (same_code(&entry->matvec, kernel->matvec)) {
            *out = entry;
            return RSRC_OK;
        }
    return compile_entry(e, kernel, out);
}

/* Appends the body, with one symbol replaced by another. */
static void put_renamed(struct rsrc_buffer *out, const char *body, const char *from,
                        const char *to) {
    const size_t n = strlen(from);
    for (const char *next; (next = strstr(body, from)) != NULL; body = next + n) {
        rsrc_buffer_append(out, body, (size_t)(next - body));
        rsrc_buffer_puts(out, to);
    }
    rsrc_buffer_puts(out, body);
}

static void put_title(const struct rsrc_ptx *e, struct rsrc_buffer *out) {
    rsrc_buffer_puts(out, "// ");
    rsrc_buffer_put_comment(out, e->options->title);
    rsrc_buffer_printf(out, " for %s, compiled by rsrc " RSRC_VERSION " with %s\n",
                       e->options->spec->name, e->compiler);
}

static enum rsrc_status emit_text(struct rsrc_ptx *e, const struct rsr_kernel *kernels,
                                  uint32_t n_kernels, struct rsrc_buffer *out) {
    put_title(e, out);
    for (uint32_t i = 0; i < n_kernels; i++) {
        struct entry *entry = NULL;
        if (find_entry(e, &kernels[i], &entry) != RSRC_OK)
            return RSRC_FAILED;
        if (i == 0)
            rsrc_buffer_puts(out, entry->header);
        rsrc_buffer_puts(out, "\n");
        rsrc_print_gpu_comment(&kernels[i], out);
        put_renamed(out, entry->body, entry->symbol, kernels[i].symbol);
    }
    return RSRC_OK;
}

static enum rsrc_status emit_cubin(struct rsrc_ptx *e, const struct rsr_kernel *kernels,
                                   uint32_t n_kernels, struct rsrc_buffer *out) {
    struct rsrc_buffer source = {0};
    put_title(e, &source);
    rsrc_print_cuda_unit(kernels, n_kernels, &source);
    const struct rsrc_nvrtc_job job = {source.data, e->options->spec->gpu.sm, RSR_UNIT_CUBIN};
    const enum rsrc_status status = rsrc_nvrtc_compile(e->diag, e->arena, e->nvrtc, &job, out);
    rsrc_buffer_free(&source);
    return status;
}

enum rsrc_status rsrc_ptx_emit(struct rsrc_ptx *ptx, const struct rsr_kernel *kernels,
                               uint32_t n_kernels, struct rsrc_buffer *out) {
    return ptx->options->kind == RSR_UNIT_PTX ? emit_text(ptx, kernels, n_kernels, out)
                                              : emit_cubin(ptx, kernels, n_kernels, out);
}

enum rsrc_status rsrc_ptx_open(struct rsrc_diag *diag, struct rsrc_arena *arena,
                               const struct rsrc_ptx_options *options, struct rsrc_ptx **out) {
    struct rsrc_ptx *ptx = RSRC_NEW(arena, struct rsrc_ptx);
    *ptx = (struct rsrc_ptx){.diag = diag, .arena = arena, .options = options};
    if (choose_compiler(ptx) != RSRC_OK)
        return RSRC_FAILED;
    rsrc_diag_emit(diag, RSRC_REMARK, "ptx", NULL, NULL, "%s compiles the kernels for %s",
                   ptx->compiler, options->spec->name);
    *out = ptx;
    return RSRC_OK;
}

void rsrc_ptx_close(struct rsrc_ptx *ptx) {
    if (ptx->nvrtc != NULL)
        rsrc_nvrtc_close(ptx->nvrtc);
}
