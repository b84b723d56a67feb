/* write_gpu_kernels.c - makes kernels for run_on_gpu: the shapes that the emulation runs, and the
 * planned layers of bitnet-2b-4t, with every available compiler.
 *
 * usage: write_gpu_kernels TARGET CUDA FOLDER [--odd-only | --small]
 *   TARGET  a description, specs/sm_90.yaml
 *   CUDA    a toolkit, for NVRTC's PTX and cubin; "none": clang's PTX alone
 *   FOLDER  exists
 *   --small an eightieth of the layers' rows and columns, for an interpreter
 */
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "emit/ptx/emit_ptx.h"
#include "emulated_plan.h"
#include "gpu_kernel_list.h"
#include "planned_matvec.h"
#include "spec/spec.h"

static const struct {
    uint32_t rows, cols;
} LAYERS[] = {{2560, 2560}, {640, 2560}, {6912, 2560}, {2560, 6912}};

struct writer {
    struct rsrc_diag *diag;
    struct rsrc_arena arena;
    struct rsr_spec spec;
    const char *folder;
    struct gpu_kernel_list list;
};

static void add_emulated(struct gpu_kernel_list *list) {
    for (unsigned k = 0; k < n_emulated_kernels; k++)
        list->plans[list->n_kernels++] = emulated_plan(k);
}

/* Every layer by every kernel, with scales and without. */
static enum rsrc_status add_layers(struct writer *w, uint32_t divisor) {
    static const enum rsr_kernel_id KERNELS[] = {RSR_KERNEL_DOT_BITS2, RSR_KERNEL_DOT_BASE3,
                                                 RSR_KERNEL_MMA_BITS2, RSR_KERNEL_MMA_BASE3};
    for (size_t i = 0; i < sizeof LAYERS / sizeof *LAYERS; i++)
        for (size_t j = 0; j < sizeof KERNELS / sizeof *KERNELS; j++)
            for (int raw = 0; raw < 2; raw++) {
                const struct planned_shape shape = {
                    LAYERS[i].rows / divisor, LAYERS[i].cols / divisor,
                    raw ? RSR_EPILOGUE_RAW : RSR_EPILOGUE_SCALE, (int)KERNELS[j]};
                const uint32_t k = w->list.n_kernels++;
                struct rsr_regime_plan plan;
                w->list.full_size[k] = true;
                if (plan_matvec(w->diag, &w->arena, &w->spec, &shape, &plan, &w->list.plans[k]) !=
                    RSRC_OK)
                    return RSRC_FAILED;
                w->list.predicted_us[k] = plan.predicted_us;
            }
    return RSRC_OK;
}

static FILE *create(struct writer *w, const char *name) {
    FILE *file = fopen(rsrc_arena_printf(&w->arena, "%s/%s", w->folder, name), "wb");
    if (file == NULL)
        perror(name);
    return file;
}

static enum rsrc_status close_file(FILE *file) {
    const bool failed = ferror(file) != 0;
    return fclose(file) != 0 || failed ? RSRC_FAILED : RSRC_OK;
}

/* One module with all kernels, in the folder and in the list. */
static enum rsrc_status add_module(struct writer *w, const char *name, const char *cuda,
                                   enum rsr_unit_kind kind) {
    struct rsr_kernel kernels[GPU_MAX_KERNELS];
    for (uint32_t i = 0; i < w->list.n_kernels; i++)
        kernels[i] = (struct rsr_kernel){.symbol = rsrc_arena_printf(&w->arena, "kernel_%u", i),
                                         .title = "test",
                                         .reason = "a shape of a test",
                                         .matvec = &w->list.plans[i]};
    const struct rsrc_spawn_options spawn = {.n_jobs = 2};
    const struct rsrc_ptx_options options = {
        .title = name, .spec = &w->spec, .kind = kind, .cuda_path = cuda, .spawn = &spawn};
    struct rsrc_ptx *ptx = NULL;
    if (rsrc_ptx_open(w->diag, &w->arena, &options, kernels, w->list.n_kernels, &ptx) != RSRC_OK)
        return RSRC_FAILED;
    struct rsrc_buffer out = {0};
    enum rsrc_status status = rsrc_ptx_emit(ptx, kernels, w->list.n_kernels, &out);
    rsrc_ptx_close(ptx);
    FILE *file = status == RSRC_OK ? create(w, name) : NULL;
    if (file == NULL) {
        status = RSRC_FAILED;
    } else {
        fwrite(out.data, 1, out.size_bytes, file);
        status = close_file(file);
    }
    rsrc_buffer_free(&out);
    snprintf(w->list.modules[w->list.n_modules++], sizeof w->list.modules[0], "%s", name);
    return status;
}

/* The layers are divided by `divisor`, or left out for 0. */
static enum rsrc_status write_all(struct writer *w, const char *target, const char *cuda,
                                  uint32_t divisor) {
    if (rsrc_load_spec(w->diag, &w->arena, target, NULL, &w->spec) != RSRC_OK)
        return RSRC_FAILED;
    add_emulated(&w->list);
    if (divisor != 0 && add_layers(w, divisor) != RSRC_OK)
        return RSRC_FAILED;
    if (strcmp(cuda, "none") != 0 &&
        (add_module(w, "nvrtc.cubin", cuda, RSR_UNIT_CUBIN) != RSRC_OK ||
         add_module(w, "nvrtc.ptx", cuda, RSR_UNIT_PTX) != RSRC_OK))
        return RSRC_FAILED;
    if (add_module(w, "clang.ptx", "none", RSR_UNIT_PTX) != RSRC_OK)
        return RSRC_FAILED;
    FILE *file = create(w, GPU_LIST_NAME);
    if (file == NULL)
        return RSRC_FAILED;
    gpu_kernel_list_write(&w->list, file);
    return close_file(file);
}

int main(int argc, char **argv) {
    const bool odd_only = argc == 5 && strcmp(argv[4], "--odd-only") == 0;
    const bool small = argc == 5 && strcmp(argv[4], "--small") == 0;
    if (argc != 4 && !odd_only && !small) {
        fputs("usage: write_gpu_kernels TARGET CUDA FOLDER [--odd-only | --small]\n", stderr);
        return 1;
    }
    struct writer w = {.diag = rsrc_diag_create(stderr, false, RSRC_COLOR_NEVER),
                       .folder = argv[3]};
    rsrc_arena_init(&w.arena);
    const enum rsrc_status status = write_all(&w, argv[1], argv[2], odd_only ? 0 : small ? 80 : 1);
    rsrc_arena_free(&w.arena);
    rsrc_diag_destroy(w.diag);
    return status == RSRC_OK ? 0 : 1;
}
