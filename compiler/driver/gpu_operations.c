/* gpu_operations.c - the images of a GPU's operations between the layers: operations.cuh, fused.cuh
 * and head.cuh of cuda/kernels, which are the same text for every model, and the model's products,
 * compiled as the layers' kernels are. */
#include "driver/gpu_operations.h"

#include <stdio.h>
#include <string.h>

#include "emit/ptx/clang.h"
#include "emit/ptx/nvrtc.h"
#include "emit/ptx/ptx_version.h"

/* Threads of a block: rsr::THREADS of operations.cuh, whose sums are shared out among so many, and
 * rsr::ROW_THREADS and rsr::SPLIT_TEAMS * rsr::THREADS of fused.cuh. */
#define THREADS 64u
#define ROW_THREADS 256u
#define SPLIT_THREADS 256u

#define ENTRY(name, id, n_threads)                                                                 \
    {                                                                                              \
        .symbol = (name), .call = RSR_GPU_CALL_##id, .min_tokens = 1, .max_tokens = UINT32_MAX,    \
        .threads = (n_threads), .token_tile = 1                                                    \
    }
#define OPERATION(name, id) ENTRY(name, id, THREADS)
const struct rsr_gpu_entry rsrc_gpu_operations[RSR_GPU_OPERATIONS] = {
    OPERATION("rsr_embed", EMBED),        OPERATION("rsr_norm", NORM),
    OPERATION("rsr_check", CHECK),        OPERATION("rsr_add", ADD),
    OPERATION("rsr_act_mul", ACT_MUL),    OPERATION("rsr_rope", ROPE),
    OPERATION("rsr_dense", DENSE),        OPERATION("rsr_append", APPEND),
    OPERATION("rsr_attend", ATTEND),      OPERATION("rsr_fill", FILL),
    OPERATION("rsr_heads", HEADS),        OPERATION("rsr_merge", MERGE),
    ENTRY("rsr_rows", ROWS, ROW_THREADS), ENTRY("rsr_split", SPLIT, SPLIT_THREADS),
    OPERATION("rsr_best", BEST),          OPERATION("rsr_first", FIRST),
    OPERATION("rsr_bound", BOUND),        OPERATION("rsr_certify", CERTIFY),
    OPERATION("rsr_survive", SURVIVE),
};

/* Appends PTX that states the lowest version which has it, for older drivers. */
static void append_lowered(struct rsrc_buffer *out, const struct rsrc_buffer *ptx) {
    static const char VERSION[] = "\n.version ";
    const char *version = strstr(ptx->data, VERSION);
    const char *rest = version != NULL ? strchr(version + 1, '\n') : NULL;
    const char *body = rest != NULL ? strstr(rest, "\n.address_size 64\n") : NULL;
    const uint32_t of_text = body != NULL ? rsrc_ptx_version_of_text(strchr(body + 1, '\n')) : 0;
    const uint32_t of_target = rsrc_ptx_version_of_target(rsrc_ptx_target(ptx));
    const uint32_t lowest = of_text > of_target ? of_text : of_target;
    if (of_text != 0 && of_target != 0) {
        rsrc_buffer_append(out, ptx->data, (size_t)(version - ptx->data));
        rsrc_buffer_printf(out, "%s%u.%u", VERSION, lowest / 10, lowest % 10);
        rsrc_buffer_puts(out, rest);
    } else {
        rsrc_buffer_puts(out, ptx->data);
    }
}

/* ---- compilers ------------------------------------------------------------------------------- */

static enum rsrc_status compile_by_clang(const struct rsrc_gpu_compiler *by,
                                         const struct rsrc_clang *clang, struct rsrc_buffer *ptx) {
    struct rsrc_cuda_text text = {.ptx = {0}}, *texts[] = {&text};
    rsrc_buffer_puts(&text.source, by->source);
    const enum rsrc_status status = rsrc_clang_compile(by->diag, by->arena, clang, texts, 1);
    rsrc_buffer_free(&text.source);
    *ptx = text.ptx;
    return status;
}

/* Makes PTX, or takes it from the store. Clang: nvrtc is NULL. */
static enum rsrc_status make_text(const struct rsrc_gpu_compiler *by, struct rsrc_nvrtc *nvrtc,
                                  const struct rsrc_clang *clang, struct rsrc_buffer *ptx) {
    const struct rsrc_ptx_store *store = by->options->store;
    const struct rsrc_nvrtc_job job = {by->source, by->options->spec->gpu.sm, RSR_UNIT_PTX};
    const char *file = nvrtc != NULL ? rsrc_nvrtc_file(by->arena, nvrtc) : clang->path;
    if (store->get(store->context, file, job.source, ptx))
        return RSRC_OK;
    const enum rsrc_status status = nvrtc != NULL
                                        ? rsrc_nvrtc_compile(by->diag, by->arena, nvrtc, &job, ptx)
                                        : compile_by_clang(by, clang, ptx);
    if (status == RSRC_OK && ptx->size_bytes != 0) /* not in a dry run */
        store->put(store->context, file, job.source, ptx);
    return status;
}

static enum rsrc_status make_image(const struct rsrc_gpu_compiler *by, struct rsrc_nvrtc *nvrtc,
                                   enum rsr_unit_kind kind, struct rsrc_buffer *out) {
    const struct rsrc_ptx_options *options = by->options;
    const struct rsrc_nvrtc_job job = {by->source, options->spec->gpu.sm, kind};
    struct rsrc_clang clang = {.path = NULL};
    struct rsrc_buffer ptx = {0};
    if (kind == RSR_UNIT_CUBIN)
        return rsrc_nvrtc_compile(by->diag, by->arena, nvrtc, &job, out);
    enum rsrc_status status = RSRC_OK;
    if (nvrtc == NULL)
        status = rsrc_clang_find(by->diag, by->arena, options->cuda_cc, options->spec->gpu.sm,
                                 options->spawn, &clang);
    if (status == RSRC_OK)
        status = make_text(by, nvrtc, &clang, &ptx);
    if (status == RSRC_OK && ptx.size_bytes != 0)
        append_lowered(out, &ptx);
    rsrc_buffer_free(&ptx);
    return status;
}

enum rsrc_status rsrc_compile_gpu_operations(const struct rsrc_gpu_compiler *by, bool has_nvrtc,
                                             enum rsr_unit_kind kind, struct rsrc_buffer *out) {
    const char *places = "";
    if (!has_nvrtc)
        return make_image(by, NULL, kind, out);
    struct rsrc_nvrtc *nvrtc = rsrc_nvrtc_open(by->arena, by->options->cuda_path, &places);
    if (nvrtc == NULL) /* it has just compiled the layers */
        return rsrc_refuse(by->diag, "cuda-missing", NULL, NULL, "NVRTC is gone: looked in %s",
                           places);
    const enum rsrc_status status = make_image(by, nvrtc, kind, out);
    rsrc_nvrtc_close(nvrtc);
    return status;
}

uint32_t rsrc_ptx_target(const struct rsrc_buffer *ptx) {
    unsigned sm = 0;
    const char *target = strstr(ptx->data, "\n.target sm_");
    return target != NULL && sscanf(target, " .target sm_%5u", &sm) == 1 ? sm : 0;
}
