/* emit_ptx.c - compiles every distinct kernel once and joins the entries to one text.
 *
 * Layers with equal plans differ only in their weights, which are parameters. Their entries are
 * equal texts with different names, because PTX has no aliases for entries. A cubin is compiled as
 * a whole.
 */
#include "emit/ptx/emit_ptx.h"

#include <stdio.h>
#include <string.h>

#include "emit/ptx/clang.h"
#include "emit/ptx/cuda_unit.h"
#include "emit/ptx/nvrtc.h"
#include "emit/ptx/ptx_version.h"

/* One compiled entry. */
struct entry {
    const struct rsr_kernel *kernel; /* the first with this code; NULL: what quantises */
    struct rsrc_cuda_text text;
    const char *body; /* of the PTX, after the directives of the whole text */
    uint32_t version; /* the lowest that has the body, 10 * major + minor */
};

struct rsrc_ptx {
    struct rsrc_diag *diag;
    struct rsrc_arena *arena;
    const struct rsrc_ptx_options *options;
    struct rsrc_nvrtc *nvrtc; /* NULL: clang */
    struct rsrc_clang clang;
    const char *compiler; /* its name and version */
    const char *file;     /* where it is */
    struct entry *entries;
    uint32_t n_entries;
    struct entry *quantize; /* one of them; NULL: no layer's rows are made of floats */
};

/* Commands are shown and not run. */
static bool is_dry(const struct rsrc_ptx *e) {
    return e->nvrtc == NULL && e->options->spawn->dry_run;
}

/* ---- who compiles ---------------------------------------------------------------------------- */

static const char HELP[] = "install Debian's clang-19, CUDA, or NVIDIA's package "
                           "nvidia-cuda-nvrtc; --cuda-cc=PATH names clang, --cuda-path=DIR the "
                           "directory of NVRTC";

static enum rsrc_status choose_clang(struct rsrc_ptx *e, const char *nowhere) {
    const struct rsrc_ptx_options *options = e->options;
    if (rsrc_clang_find(e->diag, e->arena, options->cuda_cc, options->spec->gpu.sm, options->spawn,
                        &e->clang) != RSRC_OK)
        return RSRC_FAILED;
    if (e->clang.path == NULL)
        return rsrc_refuse(e->diag, "cuda-missing", NULL, HELP,
                           "nothing compiles kernels of GPUs: NVRTC (libnvrtc.so) was not found, "
                           "%s; PATH has none of %s",
                           nowhere, rsrc_clang_names);
    if (rsrc_ptx_version_of_target(options->spec->gpu.sm) == 0)
        return rsrc_refuse(e->diag, "ptx-target", NULL, "a newer NVRTC may know it",
                           "rsrc does not know which version of PTX has sm_%u",
                           options->spec->gpu.sm);
    e->compiler = rsrc_arena_printf(e->arena, "clang %s", e->clang.version);
    e->file = e->clang.path;
    return RSRC_OK;
}

static enum rsrc_status choose_compiler(struct rsrc_ptx *e) {
    const struct rsrc_ptx_options *options = e->options;
    const bool none = options->cuda_path != NULL && strcmp(options->cuda_path, "none") == 0;
    const bool by_clang = none || (options->cuda_path == NULL && options->cuda_cc != NULL);
    const char *places = NULL;
    if (!by_clang)
        e->nvrtc = rsrc_nvrtc_open(e->arena, options->cuda_path, &places);
    if (e->nvrtc != NULL) {
        e->compiler = rsrc_nvrtc_name(e->arena, e->nvrtc);
        e->file = rsrc_nvrtc_file(e->arena, e->nvrtc);
        return RSRC_OK;
    }
    const char *nowhere = by_clang ? none ? "--cuda-path=none leaves it out" : "--cuda-cc is given"
                                   : rsrc_arena_printf(e->arena, "looked in %s", places);
    const bool cubin = options->kind == RSR_UNIT_CUBIN;
    if (cubin || (!by_clang && options->cuda_path != NULL))
        return rsrc_refuse(e->diag, "cuda-missing", NULL,
                           "install CUDA or NVIDIA's package nvidia-cuda-nvrtc, or name its "
                           "directory with --cuda-path",
                           "%s needs NVRTC (libnvrtc.so): %s", cubin ? "a cubin" : "--cuda-path",
                           nowhere);
    return choose_clang(e, nowhere);
}

/* ---- entries --------------------------------------------------------------------------------- */

static bool same_constants(const struct rsr_matvec *a, const struct rsr_matvec *b) {
    return a->codes == b->codes && a->product == b->product && a->rows == b->rows &&
           a->cols == b->cols && a->row_warps == b->row_warps && a->col_warps == b->col_warps &&
           a->token_tile == b->token_tile && a->scale_per_row == b->scale_per_row &&
           a->epilogue == b->epilogue;
}

/* Bodies are weights, of which the key has a hash. */
bool rsrc_same_gpu_code(const struct rsr_kernel *a, const struct rsr_kernel *b) {
    return same_constants(a->matvec, b->matvec) &&
           (a->n_bodies == 0 || strcmp(a->key, b->key) == 0);
}

/* NULL: no kernel with this code is listed. */
static const struct entry *find_entry(const struct rsrc_ptx *e, const struct rsr_kernel *kernel) {
    for (uint32_t i = 0; i < e->n_entries; i++)
        if (e->entries[i].kernel != NULL && rsrc_same_gpu_code(e->entries[i].kernel, kernel))
            return &e->entries[i];
    return NULL;
}

static bool any_quantizes(const struct rsr_kernel *kernels, uint32_t n_kernels) {
    for (uint32_t i = 0; i < n_kernels; i++)
        if (rsrc_gpu_quantizes(&kernels[i]))
            return true;
    return false;
}

/* Lists the distinct kernels. */
static void list_entries(struct rsrc_ptx *e, const struct rsr_kernel *kernels, uint32_t n_kernels) {
    e->entries = RSRC_NEW_ARRAY(e->arena, n_kernels + 1, struct entry);
    if (any_quantizes(kernels, n_kernels)) {
        e->quantize = &e->entries[e->n_entries++];
        rsrc_print_cuda_quantize(&e->quantize->text.source);
    }
    for (uint32_t i = 0; i < n_kernels; i++) {
        if (find_entry(e, &kernels[i]) != NULL)
            continue;
        struct entry *entry = &e->entries[e->n_entries++];
        *entry = (struct entry){.kernel = &kernels[i]};
        rsrc_print_cuda_unit(&kernels[i], 1, &entry->text.source);
    }
}

/* Finds the body after the directives of the whole text, which the joined text gets once. */
static enum rsrc_status read_entry(struct rsrc_ptx *e, struct entry *entry) {
    unsigned major = 0, minor = 0;
    const char *version = strstr(entry->text.ptx.data, "\n.version ");
    const char *size = version == NULL ? NULL : strstr(version, "\n.address_size 64\n");
    if (size == NULL || sscanf(version, " .version %2u.%1u", &major, &minor) != 2) {
        rsrc_error(e->diag, "ptx-text", NULL, NULL, "%s made text that is no PTX", e->compiler);
        return RSRC_FAILED;
    }
    entry->body = strchr(size + 1, '\n') + 1;
    const uint32_t lowest = rsrc_ptx_version_of_text(entry->body);
    entry->version = lowest != 0 ? lowest : 10 * major + minor;
    return RSRC_OK;
}

static enum rsrc_status compile_texts(struct rsrc_ptx *e, struct rsrc_cuda_text *const *texts,
                                      uint32_t n) {
    if (e->nvrtc == NULL)
        return rsrc_clang_compile(e->diag, e->arena, &e->clang, texts, n);
    enum rsrc_status status = RSRC_OK;
    for (uint32_t i = 0; i < n && status == RSRC_OK; i++) {
        const struct rsrc_nvrtc_job job = {texts[i]->source.data, e->options->spec->gpu.sm,
                                           RSR_UNIT_PTX};
        status = rsrc_nvrtc_compile(e->diag, e->arena, e->nvrtc, &job, &texts[i]->ptx);
    }
    return status;
}

/* Compiles what the store does not have, and stores it. */
static enum rsrc_status compile_entries(struct rsrc_ptx *e) {
    const struct rsrc_ptx_store *store = e->options->store;
    struct rsrc_cuda_text **missing =
        RSRC_NEW_ARRAY(e->arena, e->n_entries, struct rsrc_cuda_text *);
    uint32_t n = 0;
    for (uint32_t i = 0; i < e->n_entries; i++) {
        struct rsrc_cuda_text *text = &e->entries[i].text;
        if (store == NULL || !store->get(store->context, e->file, text->source.data, &text->ptx))
            missing[n++] = text;
    }
    if (n != 0 && compile_texts(e, missing, n) != RSRC_OK)
        return RSRC_FAILED;
    for (uint32_t i = 0; i < e->n_entries && !is_dry(e); i++)
        if (read_entry(e, &e->entries[i]) != RSRC_OK)
            return RSRC_FAILED;
    for (uint32_t i = 0; i < n && store != NULL && !is_dry(e); i++)
        store->put(store->context, e->file, missing[i]->source.data, &missing[i]->ptx);
    return RSRC_OK;
}

/* ---- units ----------------------------------------------------------------------------------- */

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

/* The lowest version that has the target and every entry. */
static void put_directives(const struct rsrc_ptx *e, const struct rsr_kernel *kernels,
                           uint32_t n_kernels, struct rsrc_buffer *out) {
    const uint32_t sm = e->options->spec->gpu.sm;
    uint32_t version = rsrc_ptx_version_of_target(sm);
    if (any_quantizes(kernels, n_kernels) && e->quantize->version > version)
        version = e->quantize->version;
    for (uint32_t i = 0; i < n_kernels; i++) {
        const uint32_t needed = find_entry(e, &kernels[i])->version;
        version = needed > version ? needed : version;
    }
    rsrc_buffer_printf(out, ".version %u.%u\n.target sm_%u\n.address_size 64\n", version / 10,
                       version % 10, sm);
}

static void emit_text(struct rsrc_ptx *e, const struct rsr_kernel *kernels, uint32_t n_kernels,
                      struct rsrc_buffer *out) {
    put_title(e, out);
    put_directives(e, kernels, n_kernels, out);
    if (any_quantizes(kernels, n_kernels)) {
        rsrc_buffer_puts(out, "\n");
        rsrc_print_quantize_comment(out);
        rsrc_buffer_puts(out, e->quantize->body);
    }
    for (uint32_t i = 0; i < n_kernels; i++) {
        const struct entry *entry = find_entry(e, &kernels[i]);
        rsrc_buffer_puts(out, "\n");
        rsrc_print_gpu_comment(&kernels[i], out);
        put_renamed(out, entry->body, entry->kernel->symbol, kernels[i].symbol);
    }
}

static enum rsrc_status emit_cubin(struct rsrc_ptx *e, const struct rsr_kernel *kernels,
                                   uint32_t n_kernels, struct rsrc_buffer *out) {
    struct rsrc_buffer source = {0};
    put_title(e, &source);
    if (any_quantizes(kernels, n_kernels))
        rsrc_print_cuda_quantize(&source);
    rsrc_print_cuda_unit(kernels, n_kernels, &source);
    const struct rsrc_nvrtc_job job = {source.data, e->options->spec->gpu.sm, RSR_UNIT_CUBIN};
    const enum rsrc_status status = rsrc_nvrtc_compile(e->diag, e->arena, e->nvrtc, &job, out);
    rsrc_buffer_free(&source);
    return status;
}

enum rsrc_status rsrc_ptx_emit(struct rsrc_ptx *ptx, const struct rsr_kernel *kernels,
                               uint32_t n_kernels, struct rsrc_buffer *out) {
    if (ptx->options->kind == RSR_UNIT_CUBIN)
        return emit_cubin(ptx, kernels, n_kernels, out);
    if (!is_dry(ptx))
        emit_text(ptx, kernels, n_kernels, out);
    return RSRC_OK;
}

enum rsrc_status rsrc_ptx_open(struct rsrc_diag *diag, struct rsrc_arena *arena,
                               const struct rsrc_ptx_options *options,
                               const struct rsr_kernel *kernels, uint32_t n_kernels,
                               struct rsrc_ptx **out) {
    struct rsrc_ptx *ptx = RSRC_NEW(arena, struct rsrc_ptx);
    *ptx = (struct rsrc_ptx){.diag = diag, .arena = arena, .options = options};
    if (choose_compiler(ptx) != RSRC_OK)
        return RSRC_FAILED;
    rsrc_diag_emit(diag, RSRC_REMARK, "ptx", NULL, NULL, "%s compiles the kernels for %s",
                   ptx->compiler, options->spec->name);
    if (options->kind == RSR_UNIT_PTX) {
        list_entries(ptx, kernels, n_kernels);
        if (compile_entries(ptx) != RSRC_OK) {
            rsrc_ptx_close(ptx);
            return RSRC_FAILED;
        }
    }
    *out = ptx;
    return RSRC_OK;
}

bool rsrc_ptx_is_nvrtc(const struct rsrc_ptx *ptx) {
    return ptx->nvrtc != NULL;
}

void rsrc_ptx_close(struct rsrc_ptx *ptx) {
    for (uint32_t i = 0; i < ptx->n_entries; i++) {
        rsrc_buffer_free(&ptx->entries[i].text.source);
        rsrc_buffer_free(&ptx->entries[i].text.ptx);
    }
    if (ptx->nvrtc != NULL)
        rsrc_nvrtc_close(ptx->nvrtc);
}
