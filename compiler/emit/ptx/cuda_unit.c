/* cuda_unit.c - prints the CUDA C++ of a unit: every layer's constants, no logic. */
#include "emit/ptx/cuda_unit.h"

static const char *const CODES[RSR_GPU_CODES_COUNT] = {
    [RSR_GPU_BITS2] = "BITS2", [RSR_GPU_BASE3] = "BASE3"};

uint32_t rsrc_gpu_threads(const struct rsr_matvec *matvec) {
    return matvec->row_warps * matvec->col_warps * 32;
}

const struct rsr_gpu_entry rsrc_gpu_quantize = {.symbol = RSRC_GPU_QUANTIZE,
                                                .call = RSR_GPU_CALL_QUANTIZE,
                                                .min_tokens = 1,
                                                .max_tokens = UINT32_MAX,
                                                .threads = RSRC_GPU_QUANTIZE_THREADS,
                                                .token_tile = 1};

uint32_t rsrc_list_gpu_entries(struct rsrc_arena *arena, const struct rsr_kernel *kernel,
                               struct rsr_gpu_entry **out) {
    const struct rsr_matvec *matvec = kernel->matvec;
    struct rsr_gpu_entry *entry = RSRC_NEW(arena, struct rsr_gpu_entry);
    *entry = (struct rsr_gpu_entry){.symbol = kernel->symbol,
                                    .call = RSR_GPU_CALL_LINEAR,
                                    .min_tokens = 1,
                                    .max_tokens = UINT32_MAX,
                                    .blocks = matvec->blocks,
                                    .threads = rsrc_gpu_threads(matvec),
                                    .token_tile = matvec->token_tile};
    *out = entry;
    return 1;
}

void rsrc_print_gpu_comment(const struct rsr_kernel *kernel, struct rsrc_buffer *out) {
    const struct rsr_matvec *matvec = kernel->matvec;
    const bool raw = matvec->epilogue == RSR_EPILOGUE_RAW;
    rsrc_buffer_printf(out, "// %s\n// ", kernel->symbol);
    rsrc_buffer_put_comment(out, kernel->title);
    rsrc_buffer_printf(out, ": %u x %u, %s codes of %llu bytes, %s\n", matvec->rows, matvec->cols,
                       matvec->codes == RSR_GPU_BITS2 ? "2-bit" : "base-3",
                       (unsigned long long)matvec->weight_bytes,
                       raw                     ? "int32 results"
                       : matvec->scale_per_row ? "a scale a row"
                                               : "one scale");
    rsrc_buffer_printf(out, "// Launch: %u blocks of %u threads; %u tokens share one reading.\n",
                       matvec->blocks, rsrc_gpu_threads(matvec), matvec->token_tile);
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
                       "    __shared__ quantization::memory shared;\n"
                       "    quantization::run(shared, {x, ldx, y, ldy, cols, not_finite});\n"
                       "}\n",
                       RSRC_GPU_QUANTIZE_THREADS, RSRC_GPU_QUANTIZE_THREADS);
}

static void print_kernel(const struct rsr_kernel *kernel, struct rsrc_buffer *out) {
    const struct rsr_matvec *matvec = kernel->matvec;
    rsrc_buffer_puts(out, "\n");
    rsrc_print_gpu_comment(kernel, out);
    rsrc_buffer_printf(
        out,
        "using %s_matvec =\n"
        "    rsr::matvec<rsr::%s, /* rows */ %u, /* cols */ %u, /* row warps */ %u,\n"
        "                /* col warps */ %u, /* ahead */ %u, /* tokens */ %u,\n"
        "                /* scale per row */ %s, rsr::%s>;\n",
        kernel->symbol, CODES[matvec->codes], matvec->rows, matvec->cols, matvec->row_warps,
        matvec->col_warps, matvec->ahead, matvec->token_tile,
        matvec->scale_per_row ? "true" : "false",
        matvec->epilogue == RSR_EPILOGUE_RAW ? "RAW" : "SCALE");
    rsrc_buffer_printf(
        out,
        "static_assert(%s_matvec::STEPS == %u && %s_matvec::BLOCKS == %u, \"as planned\");\n"
        "extern \"C\" __global__ void __launch_bounds__(%u, %u)\n"
        "%s(const char *x, size_t ldx, const uint4 *codes, const float *scale, void *y,\n"
        "    size_t ldy, unsigned n_tokens) {\n"
        "    __shared__ %s_matvec::memory shared;\n"
        "    %s_matvec::run(shared, {x, ldx, codes, scale, y, ldy, n_tokens});\n"
        "}\n",
        kernel->symbol, matvec->steps, kernel->symbol, matvec->blocks, rsrc_gpu_threads(matvec),
        RSRC_GPU_MIN_BLOCKS, kernel->symbol, kernel->symbol, kernel->symbol);
}

void rsrc_print_cuda_unit(const struct rsr_kernel *kernels, uint32_t n_kernels,
                          struct rsrc_buffer *out) {
    rsrc_buffer_puts(out, "#include \"matvec.cuh\"\n");
    for (uint32_t i = 0; i < n_kernels; i++)
        print_kernel(&kernels[i], out);
}
