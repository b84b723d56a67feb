/* gpu_operations.c - the images of a GPU's operations between the layers:
 * cuda/kernels/operations.cuh, which is the same text for every model, compiled as the layers'
 * kernels are. */
#include "driver/gpu_operations.h"

#include <stdio.h>
#include <string.h>

#include "emit/ptx/clang.h"
#include "emit/ptx/nvrtc.h"
#include "emit/template.h"

/* rsr::THREADS of operations.cuh, whose sums are shared out among so many. */
#define THREADS 64u

#define OPERATION(name, id)                                                                        \
    {                                                                                              \
        .symbol = (name), .call = RSR_GPU_CALL_##id, .min_tokens = 1, .max_tokens = UINT32_MAX,    \
        .threads = THREADS, .token_tile = 1                                                        \
    }
const struct rsr_gpu_entry rsrc_gpu_operations[RSR_GPU_OPERATIONS] = {
    OPERATION("rsr_embed", EMBED),     OPERATION("rsr_norm", NORM),
    OPERATION("rsr_check", CHECK),     OPERATION("rsr_add", ADD),
    OPERATION("rsr_act_mul", ACT_MUL), OPERATION("rsr_rope", ROPE),
    OPERATION("rsr_dense", DENSE),     OPERATION("rsr_append", APPEND),
    OPERATION("rsr_attend", ATTEND),
};

/* The text; what a compiler is given is no header. */
static const char *source_text(void) {
    static const char ONCE[] = "#pragma once\n";
    return strstr(rsrc_template_text("operations.cuh"), ONCE) + strlen(ONCE);
}

/* ---- compilers ------------------------------------------------------------------------------- */

static enum rsrc_status compile_by_nvrtc(const struct rsrc_gpu_compiler *by,
                                         struct rsrc_nvrtc *nvrtc, enum rsr_unit_kind kind,
                                         struct rsrc_buffer *out) {
    const struct rsrc_nvrtc_job job = {source_text(), by->options->spec->gpu.sm, kind};
    const struct rsrc_ptx_store *store = by->options->store;
    const char *file = rsrc_nvrtc_file(by->arena, nvrtc);
    const bool stored = kind == RSR_UNIT_PTX;
    if (stored && store->get(store->context, file, job.source, out))
        return RSRC_OK;
    if (rsrc_nvrtc_compile(by->diag, by->arena, nvrtc, &job, out) != RSRC_OK)
        return RSRC_FAILED;
    if (stored)
        store->put(store->context, file, job.source, out);
    return RSRC_OK;
}

static enum rsrc_status compile_by_clang(const struct rsrc_gpu_compiler *by,
                                         struct rsrc_buffer *out) {
    const struct rsrc_ptx_options *options = by->options;
    const struct rsrc_ptx_store *store = options->store;
    struct rsrc_clang clang;
    struct rsrc_cuda_text text = {.ptx = {0}}, *texts[] = {&text};
    if (rsrc_clang_find(by->diag, by->arena, options->cuda_cc, options->spawn, &clang) != RSRC_OK)
        return RSRC_FAILED;
    rsrc_buffer_puts(&text.source, source_text());
    enum rsrc_status status = RSRC_OK;
    if (!store->get(store->context, clang.path, text.source.data, out)) {
        status = rsrc_clang_compile(by->diag, by->arena, &clang, texts, 1);
        if (status == RSRC_OK && text.ptx.size_bytes != 0) { /* not in a dry run */
            store->put(store->context, clang.path, text.source.data, &text.ptx);
            rsrc_buffer_append(out, text.ptx.data, text.ptx.size_bytes);
        }
    }
    rsrc_buffer_free(&text.source);
    rsrc_buffer_free(&text.ptx);
    return status;
}

enum rsrc_status rsrc_compile_gpu_operations(const struct rsrc_gpu_compiler *by, bool has_nvrtc,
                                             enum rsr_unit_kind kind, struct rsrc_buffer *out) {
    if (!has_nvrtc)
        return compile_by_clang(by, out);
    const char *places;
    struct rsrc_nvrtc *nvrtc = rsrc_nvrtc_open(by->arena, by->options->cuda_path, &places);
    if (nvrtc == NULL) /* the layers were compiled by it */
        return rsrc_refuse(by->diag, "cuda-missing", NULL, NULL, "NVRTC is gone: looked in %s",
                           places);
    const enum rsrc_status status = compile_by_nvrtc(by, nvrtc, kind, out);
    rsrc_nvrtc_close(nvrtc);
    return status;
}

uint32_t rsrc_ptx_target(const struct rsrc_buffer *ptx) {
    unsigned sm = 0;
    const char *target = strstr(ptx->data, "\n.target sm_");
    return target != NULL && sscanf(target, " .target sm_%5u", &sm) == 1 ? sm : 0;
}
