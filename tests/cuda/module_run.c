/* module_run.c - runs the kernels of a module's GPU in the interpreter (ptx/ptx.h), by nothing but
 * the module's tables: its PTX, its launches, its weights; and compares the bits with those of the
 * CPU's kernels in the same or in another module of the model.
 *
 * usage: module_run GPU MODULE.so [CPU_MODULE.so]
 *
 * Runs every LINEAR operation of the GPU's steps with 1, 3 and 6 tokens.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "open_module.h"
#include "ptx/ptx.h"
#include "rsr_abi.h"

#define POISON 0x5a

struct run {
    struct rsrc_arena arena;
    const struct rsr_gpu_target *gpu;
    const struct rsr_target *cpu;
    struct ptx_module ptx;
    uint32_t n_launches;
};

static const uint32_t TOKENS[] = {1, 3, 6};
#define MOST_TOKENS 6u

static bool complain(const char *name, const char *what) {
    fprintf(stderr, "%s: %s\n", name, what);
    return false;
}

/* ---- modules --------------------------------------------------------------------------------- */

static bool find_gpu(struct run *r, const struct rsr_module *module, const char *name) {
    for (uint32_t g = 0; g < module->n_gpus; g++)
        if (strcmp(module->gpus[g].name, name) == 0)
            r->gpu = &module->gpus[g];
    return r->gpu != NULL || complain(name, "the module has no such GPU");
}

static bool parse_image(struct run *r) {
    struct ptx_error error;
    for (uint32_t i = 0; i < r->gpu->n_images; i++) {
        const struct rsr_gpu_image *image = &r->gpu->images[i];
        if (image->kind != RSR_GPU_IMAGE_PTX)
            continue;
        if (ptx_parse(&r->arena, image->bytes, image->size_bytes - 1, &r->ptx, &error))
            return true;
        fprintf(stderr, "%s:%u: %s\n", r->gpu->name, error.line, error.text);
        return false;
    }
    return complain(r->gpu->name, "no image is PTX");
}

/* The CPU's kernel of a layer. */
static const struct rsr_kernel_desc *find_cpu(const struct run *r, uint32_t block, uint32_t role) {
    for (uint32_t k = 0; k < r->cpu->n_kernels; k++)
        if (r->cpu->kernels[k].block == block && r->cpu->kernels[k].role == role)
            return &r->cpu->kernels[k];
    return NULL;
}

/* ---- launches -------------------------------------------------------------------------------- */

static uint64_t copy_of(struct ptx_memory *memory, const void *bytes, size_t size_bytes) {
    const uint64_t address = ptx_allocate(memory, size_bytes);
    (void)ptx_upload(memory, address, bytes, size_bytes);
    return address;
}

static bool launch(struct run *r, struct ptx_memory *memory, const struct rsr_gpu_entry *entry,
                   uint32_t n_tokens, const void *parameters, size_t size_bytes) {
    const struct ptx_kernel *kernel = ptx_find_kernel(&r->ptx, entry->symbol);
    if (kernel == NULL || kernel->parameter_bytes != size_bytes)
        return complain(entry->symbol, "no such function of these parameters in the image");
    const struct ptx_launch how = {
        .kernel = kernel,
        .grid = {entry->blocks != 0 ? entry->blocks : n_tokens,
                 entry->blocks != 0 ? (n_tokens + entry->token_tile - 1) / entry->token_tile : 1,
                 1},
        .block = {entry->threads, 1, 1},
        .parameters = parameters,
        .seed = 7 + n_tokens};
    struct ptx_error error;
    r->n_launches++;
    return ptx_run(memory, &how, NULL, &error) || complain(entry->symbol, error.text);
}

/* The parameters of enum rsr_gpu_call. */
struct quantize_call {
    uint64_t x, ldx, y, ldy;
    uint32_t cols, unused;
    uint64_t not_finite;
};

struct linear_call {
    uint64_t x, ldx, codes, scale, y, ldy;
    uint32_t n_tokens;
};
#define LINEAR_BYTES offsetof(struct linear_call, n_tokens) + sizeof(uint32_t)

struct problem {
    const struct rsr_gpu_kernel *kernel;
    const struct rsr_kernel_desc *cpu;
    uint32_t n_tokens;
    size_t ldx, ldy, row_bytes;
    float *x;
    char *rows;
    float *y;
};

static bool is_right(const struct problem *p) {
    struct rsr_worker worker = {.tile_end = p->cpu->n_tiles, .count = 1};
    float *wanted = malloc(p->n_tokens * p->ldy * sizeof *wanted);
    void *scratch = aligned_alloc(64, (p->cpu->scratch_bytes + 127) / 64 * 64);
    memset(wanted, POISON, p->n_tokens * p->ldy * sizeof *wanted);
    for (uint32_t t = 0; t < p->n_tokens; t++)
        p->cpu->fn(p->rows + t * p->row_bytes, p->row_bytes, wanted + t * p->ldy, p->ldy, 1,
                   &p->cpu->weights, &worker, scratch);
    const bool right = memcmp(wanted, p->y, p->n_tokens * p->ldy * sizeof *wanted) == 0;
    free(scratch);
    free(wanted);
    return right;
}

static const struct rsr_gpu_entry *entry_for(const struct rsr_gpu_kernel *k, uint32_t n_tokens) {
    uint32_t e = 0;
    while (k->entries[e].max_tokens < n_tokens)
        e++;
    return &k->entries[e];
}

/* Quantises, multiplies, and brings rows and results back. */
static bool multiply(struct run *r, struct ptx_memory *memory, struct problem *p) {
    const struct rsr_gpu_kernel *k = p->kernel;
    const size_t rows_bytes = p->n_tokens * p->row_bytes;
    const size_t y_bytes = p->n_tokens * p->ldy * sizeof(float);
    const uint32_t zero = 0;
    const struct quantize_call q = {.x =
                                        copy_of(memory, p->x, p->n_tokens * p->ldx * sizeof(float)),
                                    .ldx = p->ldx,
                                    .y = copy_of(memory, p->rows, rows_bytes),
                                    .ldy = p->row_bytes,
                                    .cols = k->cols,
                                    .not_finite = copy_of(memory, &zero, sizeof zero)};
    const struct linear_call l = {
        .x = q.y,
        .ldx = p->row_bytes,
        .codes = copy_of(memory, k->weights.codes, k->codes_bytes),
        .scale = copy_of(memory, k->weights.scale, k->weights.n_scales * sizeof(float)),
        .y = copy_of(memory, p->y, y_bytes),
        .ldy = p->ldy,
        .n_tokens = p->n_tokens};
    return launch(r, memory, r->gpu->quantize, p->n_tokens, &q, sizeof q) &&
           launch(r, memory, entry_for(k, p->n_tokens), p->n_tokens, &l, LINEAR_BYTES) &&
           ptx_download(memory, p->rows, q.y, rows_bytes) &&
           ptx_download(memory, p->y, l.y, y_bytes);
}

static bool run_kernel(struct run *r, const struct rsr_gpu_kernel *k, uint32_t n_tokens) {
    struct problem p = {.kernel = k, .cpu = find_cpu(r, k->block, k->role), .n_tokens = n_tokens};
    if (p.cpu == NULL || p.cpu->rows != k->rows || p.cpu->cols != k->cols)
        return complain(k->name, "no kernel of the CPU is its layer's");
    p.ldx = (k->cols + 3u) / 4 * 4 + 4;
    p.ldy = k->rows + 3u;
    p.row_bytes = RSR_ACT_HEADER + ((size_t)k->cols + RSR_ACT_PAD - 1) / RSR_ACT_PAD * RSR_ACT_PAD;
    p.x = rsrc_arena_array(&r->arena, n_tokens * p.ldx, sizeof(float));
    p.rows = aligned_alloc(64, MOST_TOKENS * p.row_bytes);
    p.y = rsrc_arena_array(&r->arena, n_tokens * p.ldy, sizeof(float));
    memset(p.rows, 0, MOST_TOKENS * p.row_bytes);
    memset(p.y, POISON, n_tokens * p.ldy * sizeof(float));
    uint64_t state = k->block * 64u + k->role;
    for (size_t i = 0; i < n_tokens * p.ldx; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        p.x[i] = (float)((double)(state >> 40) / (1 << 23) - 1.0);
    }
    struct ptx_memory memory;
    ptx_memory_init(&memory);
    const bool right = multiply(r, &memory, &p) &&
                       (is_right(&p) || complain(k->name, "the results are not the CPU's"));
    ptx_memory_free(&memory);
    free(p.rows);
    return right;
}

/* ---- steps ----------------------------------------------------------------------------------- */

/* Runs what the operations of every step name. */
static bool run_steps(struct run *r) {
    uint32_t n_linear = 0;
    for (uint32_t s = 0; s < r->gpu->n_steps; s++)
        for (uint32_t i = 0; i < r->gpu->steps[s].n_ops; i++) {
            const struct rsr_step_op *op = &r->gpu->steps[s].ops[i];
            if (op->kind != RSR_OP_LINEAR)
                continue;
            const struct rsr_gpu_kernel *k = &r->gpu->kernels[op->arg];
            n_linear++;
            if (k->block != op->block)
                return complain(k->name, "an operation of another block names it");
            for (size_t t = 0; t < sizeof TOKENS / sizeof *TOKENS; t++)
                if (TOKENS[t] >= r->gpu->steps[s].min_tokens &&
                    TOKENS[t] <= r->gpu->steps[s].max_tokens && !run_kernel(r, k, TOKENS[t]))
                    return false;
        }
    printf("%s: %u operations of layers, %u launches, all of the CPU's bits\n", r->gpu->name,
           n_linear, r->n_launches);
    return n_linear != 0;
}

int main(int argc, char **argv) {
    struct run r = {.gpu = NULL};
    if (argc != 3 && argc != 4) {
        fputs("usage: module_run GPU MODULE.so [CPU_MODULE.so]\n", stderr);
        return 2;
    }
    const struct rsr_module *module = open_module(argv[2]);
    const struct rsr_module *other = argc == 4 ? open_module(argv[3]) : module;
    if (module == NULL || other == NULL || other->n_targets == 0)
        return 1;
    r.cpu = &other->targets[0];
    rsrc_arena_init(&r.arena);
    const bool right = find_gpu(&r, module, argv[1]) && parse_image(&r) && run_steps(&r);
    rsrc_arena_free(&r.arena);
    return !right;
}
