/* cuda_unit.c - prints the CUDA C++ of a unit: every layer's constants, no logic. */
#include "emit/ptx/cuda_unit.h"

#include <stdio.h>

static const char *const CODES[RSR_GPU_CODES_COUNT] = {
    [RSR_GPU_BITS2] = "rsr::BITS2", [RSR_GPU_BASE3] = "rsr::BASE3"};

uint32_t rsrc_gpu_threads(const struct rsr_matvec *matvec) {
    return matvec->row_warps * matvec->col_warps * 32;
}

const struct rsr_gpu_entry rsrc_gpu_quantize = {.symbol = RSRC_GPU_QUANTIZE,
                                                .call = RSR_GPU_CALL_QUANTIZE,
                                                .min_tokens = 1,
                                                .max_tokens = UINT32_MAX,
                                                .threads = RSRC_GPU_QUANTIZE_THREADS,
                                                .token_tile = 1};

uint32_t rsrc_gpu_launches(const struct rsr_matvec *matvec,
                           struct rsr_gpu_entry out[RSR_GPU_MAX_FUNCTIONS]) {
    const uint32_t n = matvec->n_functions;
    for (uint32_t i = 0; i < n; i++)
        out[i] = (struct rsr_gpu_entry){.call = RSR_GPU_CALL_LINEAR,
                                        .min_tokens = i == 0 ? 1 : out[i - 1].max_tokens + 1,
                                        .max_tokens =
                                            i + 1 == n ? UINT32_MAX : matvec->functions[i].tokens,
                                        .blocks = matvec->blocks,
                                        .threads = rsrc_gpu_threads(matvec),
                                        .token_tile = matvec->functions[i].tokens};
    return n;
}

uint32_t rsrc_list_gpu_entries(struct rsrc_arena *arena, const struct rsr_kernel *kernel,
                               struct rsr_gpu_entry **out) {
    struct rsr_gpu_entry *entries =
        RSRC_NEW_ARRAY(arena, RSR_GPU_MAX_FUNCTIONS, struct rsr_gpu_entry);
    const uint32_t n = rsrc_gpu_launches(kernel->matvec, entries);
    for (uint32_t i = 0; i < n; i++)
        entries[i].symbol =
            rsrc_arena_printf(arena, RSRC_GPU_FUNCTION, kernel->symbol, entries[i].token_tile);
    *out = entries;
    return n;
}

/* "rsr_l0_q_dot_sm_90_1 for one token, rsr_l0_q_dot_sm_90_4 for every 4 of more" */
static void print_entries(const struct rsr_kernel *kernel, struct rsrc_buffer *out) {
    struct rsr_gpu_entry entries[RSR_GPU_MAX_FUNCTIONS];
    const uint32_t n = rsrc_gpu_launches(kernel->matvec, entries);
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t tokens = entries[i].token_tile;
        rsrc_buffer_printf(out, RSRC_GPU_FUNCTION, kernel->symbol, tokens);
        if (tokens == 1 && n != 1)
            rsrc_buffer_puts(out, " for one token, ");
        else
            rsrc_buffer_printf(out, " for every %u%s", tokens, n != 1 ? " of more" : " tokens");
    }
}

/* "dot of 2-bit codes of 1638400 bytes" */
static void print_product_words(const struct rsr_kernel *kernel, struct rsrc_buffer *out) {
    const struct rsr_matvec *matvec = kernel->matvec;
    if (matvec->product == RSR_GPU_FOLD)
        rsrc_buffer_printf(out, "fold: %u bodies of %u rows and %u columns", kernel->n_bodies,
                           matvec->warp_rows, matvec->chunk_cols);
    else if (matvec->product == RSR_GPU_SEGMENT)
        rsrc_buffer_printf(out, "segment: codes of 4 columns of %llu bytes",
                           (unsigned long long)matvec->weight_bytes);
    else
        rsrc_buffer_printf(out, "%s of %s codes of %llu bytes",
                           matvec->product == RSR_GPU_MMA ? "mma" : "dot",
                           matvec->codes == RSR_GPU_BITS2 ? "2-bit" : "base-3",
                           (unsigned long long)matvec->weight_bytes);
}

void rsrc_print_gpu_comment(const struct rsr_kernel *kernel, struct rsrc_buffer *out) {
    const struct rsr_matvec *matvec = kernel->matvec;
    const bool raw = matvec->epilogue == RSR_EPILOGUE_RAW;
    rsrc_buffer_printf(out, "// %s\n// ", kernel->symbol);
    rsrc_buffer_put_comment(out, kernel->title);
    rsrc_buffer_printf(out, ": %u x %u, ", matvec->rows, matvec->cols);
    print_product_words(kernel, out);
    rsrc_buffer_printf(out, ", %s\n",
                       raw                     ? "int32 results"
                       : matvec->scale_per_row ? "a scale a row"
                                               : "one scale");
    rsrc_buffer_puts(out, "// Functions: ");
    print_entries(kernel, out);
    rsrc_buffer_printf(out, ".\n// Launch: %u blocks of %u threads, for each of these.\n",
                       matvec->blocks, rsrc_gpu_threads(matvec));
    rsrc_buffer_puts(out, "// Why: ");
    rsrc_buffer_put_comment(out, kernel->reason);
    rsrc_buffer_puts(out, "\n");
}

bool rsrc_gpu_quantizes(const struct rsr_kernel *kernel) {
    return kernel->matvec->epilogue == RSR_EPILOGUE_SCALE;
}

void rsrc_print_quantize_comment(struct rsrc_buffer *out) {
    rsrc_buffer_printf(out,
                       "// " RSRC_GPU_QUANTIZE "\n"
                       "// Rows of floats to int8 rows with their scales, which layers read.\n"
                       "// Launch: a block of %u threads a row.\n"
                       "// Why: all layers of an input read what is quantised once.\n",
                       RSRC_GPU_QUANTIZE_THREADS);
}

void rsrc_print_cuda_quantize(struct rsrc_buffer *out) {
    rsrc_buffer_puts(out, "#include \"activations.cuh\"\n\n");
    rsrc_print_quantize_comment(out);
    rsrc_buffer_printf(out,
                       "using quantization = rsr::quantization</* threads */ %u>;\n"
                       "extern \"C\" __global__ void __launch_bounds__(%u)\n" RSRC_GPU_QUANTIZE
                       "(const float *x, size_t ldx, char *y, size_t ldy, unsigned cols,\n"
                       "             unsigned *not_finite) {\n"
                       "    rsr::allow_next();\n"
                       "    rsr::wait_for_launches();\n"
                       "    __shared__ quantization::memory shared;\n"
                       "    quantization::run(shared, {x, ldx, y, ldy, cols, not_finite});\n"
                       "}\n",
                       RSRC_GPU_QUANTIZE_THREADS, RSRC_GPU_QUANTIZE_THREADS);
}

/* Registers of a multiprocessor, of every GPU since sm_80. */
#define SM_REGISTERS 65536u

static void print_product(const struct rsr_matvec *matvec, uint32_t tokens,
                          struct rsrc_buffer *out) {
    if (matvec->product == RSR_GPU_MMA)
        rsrc_buffer_printf(out, "rsr::mma_product<%s>", CODES[matvec->codes]);
    else
        rsrc_buffer_printf(out, "rsr::dot_product<%s, /* tokens */ %u>", CODES[matvec->codes],
                           tokens);
}

/* A matvec's arguments but for the last two. */
static void print_matvec(const struct rsr_matvec *matvec, const struct rsr_gpu_function *function,
                         uint32_t rows, struct rsrc_buffer *out) {
    rsrc_buffer_puts(out, "rsr::matvec<");
    print_product(matvec, function->tokens, out);
    rsrc_buffer_printf(out,
                       ", /* rows */ %u,\n"
                       "                /* cols */ %u, /* row warps */ %u, /* col warps */ %u,\n"
                       "                /* ahead */ %u,\n",
                       rows, matvec->cols, matvec->row_warps, matvec->col_warps, function->ahead);
}

/* The template's arguments, after which come `scale per row` and the epilogue. */
static void print_template(const struct rsr_kernel *kernel, const struct rsr_gpu_function *function,
                           struct rsrc_buffer *out) {
    const struct rsr_matvec *matvec = kernel->matvec;
    if (matvec->product == RSR_GPU_FOLD) {
        rsrc_buffer_printf(out,
                           "rsr::fold<rsr::%s_bodies, /* rows */ %u, /* cols */ %u,\n"
                           "                /* warp rows */ %u, /* chunk cols */ %u, /* warps */ "
                           "%u,\n",
                           kernel->symbol, matvec->rows, matvec->cols, matvec->warp_rows,
                           matvec->chunk_cols, matvec->row_warps);
        return;
    }
    if (matvec->product == RSR_GPU_SEGMENT) {
        rsrc_buffer_printf(out,
                           "rsr::segment</* tokens */ %u, /* rows */ %u, /* cols */ %u,\n"
                           "                /* warps */ %u,\n",
                           function->tokens, matvec->rows, matvec->cols, matvec->row_warps);
        return;
    }
    print_matvec(matvec, function, matvec->rows, out);
}

void rsrc_print_cuda_product(const struct rsr_matvec *matvec, const struct rsr_gpu_group *product,
                             struct rsrc_buffer *out) {
    for (uint32_t i = 0; i < product->n_entries; i++) {
        const struct rsr_gpu_entry *entry = &product->entries[i];
        const struct rsr_gpu_function *function = &matvec->functions[i];
        const char *name = entry->symbol;
        rsrc_buffer_printf(out, "\nusing %s_group = rsr::group<\n    ", name);
        print_matvec(matvec, function, 0, out); /* rows are a member's */
        rsrc_buffer_printf(out,
                           "                /* scale per row */ %s, rsr::SCALE>>;\n"
                           "extern \"C\" __global__ void __launch_bounds__(%u, %u)\n"
                           "%s(rsr::products p) {\n"
                           "    __shared__ %s_group::memory shared;\n"
                           "    %s_group::run(shared, p);\n"
                           "}\n",
                           matvec->scale_per_row ? "true" : "false", entry->threads,
                           SM_REGISTERS / (function->registers * entry->threads), name, name, name);
    }
}

static void print_function(const struct rsr_kernel *kernel, const struct rsr_gpu_entry *entry,
                           const struct rsr_gpu_function *function, struct rsrc_buffer *out) {
    const struct rsr_matvec *matvec = kernel->matvec;
    const bool in_steps = matvec->product == RSR_GPU_DOT || matvec->product == RSR_GPU_MMA;
    char name[512];
    snprintf(name, sizeof name, RSRC_GPU_FUNCTION, kernel->symbol, entry->token_tile);
    rsrc_buffer_printf(out, "\nusing %s_matvec =\n    ", name);
    print_template(kernel, function, out);
    rsrc_buffer_printf(out, "                /* scale per row */ %s, rsr::%s>;\n",
                       matvec->scale_per_row ? "true" : "false",
                       matvec->epilogue == RSR_EPILOGUE_RAW ? "RAW" : "SCALE");
    rsrc_buffer_printf(
        out,
        "static_assert(%s_matvec::%s == %u && %s_matvec::BLOCKS == %u, \"as planned\");\n"
        "extern \"C\" __global__ void __launch_bounds__(%u, %u)\n%s"
        "(const char *x, size_t ldx, const uint4 *codes, const float *scale, void *y,\n"
        "    size_t ldy, unsigned n_tokens) {\n"
        "    __shared__ %s_matvec::memory shared;\n"
        "    %s_matvec::run(shared, {x, ldx, codes, scale, y, ldy, n_tokens});\n"
        "}\n",
        name, in_steps ? "STEPS" : "CHUNKS", matvec->steps, name, matvec->blocks, entry->threads,
        SM_REGISTERS / (function->registers * entry->threads), name, name, name);
}

static void print_kernel(const struct rsr_kernel *kernel, struct rsrc_buffer *out) {
    struct rsr_gpu_entry entries[RSR_GPU_MAX_FUNCTIONS];
    const uint32_t n = rsrc_gpu_launches(kernel->matvec, entries);
    rsrc_buffer_puts(out, "\n");
    rsrc_print_gpu_comment(kernel, out);
    if (kernel->matvec->product == RSR_GPU_FOLD)
        rsrc_print_cuda_fold(kernel, out);
    for (uint32_t i = 0; i < n; i++)
        print_function(kernel, &entries[i], &kernel->matvec->functions[i], out);
}

static bool any_has(const struct rsr_kernel *kernels, uint32_t n_kernels,
                    enum rsr_gpu_product product) {
    for (uint32_t i = 0; i < n_kernels; i++)
        if (kernels[i].matvec->product == product)
            return true;
    return false;
}

void rsrc_print_cuda_unit(const struct rsr_kernel *kernels, uint32_t n_kernels,
                          struct rsrc_buffer *out) {
    rsrc_buffer_puts(out, "#include \"matvec.cuh\"\n");
    if (any_has(kernels, n_kernels, RSR_GPU_FOLD))
        rsrc_buffer_puts(out, "#include \"fold.cuh\"\n");
    if (any_has(kernels, n_kernels, RSR_GPU_SEGMENT))
        rsrc_buffer_puts(out, "#include \"segment.cuh\"\n");
    for (uint32_t i = 0; i < n_kernels; i++)
        print_kernel(&kernels[i], out);
}
