// emulated_kernels.cpp - the CUDA kernels at the shapes of emulated_kernels.h, in a table that C
// can use.
#include "cuda_emulation.h"

#include "emulated_kernels.h"
#include "matvec.cuh"

namespace {

using runner = std::string (*)(const emulated_call &);

template <class Kernel> std::string run(const emulated_call &call) {
    const rsr::arguments arguments = {
        call.x,   call.ldx,     static_cast<const uint4 *>(call.codes), call.scale, call.y,
        call.ldy, call.n_tokens};
    const emulation::options options = {call.seed, call.skip_barrier, call.lane_error};
    return emulation::launch<typename Kernel::memory>(
        Kernel::BLOCKS, (call.n_tokens + Kernel::TOKENS - 1) / Kernel::TOKENS, Kernel::THREADS,
        options, [&](typename Kernel::memory &shared) { Kernel::run(shared, arguments); });
}

enum product { DOT, MMA }; // enum rsr_gpu_product

template <rsr::codes CODES, product PRODUCT, unsigned TOKENS> struct multiplier {
    using type = rsr::dot_product<CODES, TOKENS>;
};
template <rsr::codes CODES, unsigned TOKENS> struct multiplier<CODES, MMA, TOKENS> {
    using type = rsr::mma_product<CODES>;
};

#define MATVEC(codes, product, rows, cols, row_warps, col_warps, ahead, tokens, per_row, epilogue) \
    rsr::matvec<multiplier<rsr::codes, product, tokens>::type, rows, cols, row_warps, col_warps,   \
                ahead, per_row, rsr::epilogue>

const runner runners[] = {
#define X(...) run<MATVEC(__VA_ARGS__)>,
    EMULATED_KERNELS(X)
#undef X
};

} // namespace

const emulated_kernel emulated_kernels[] = {
#define X(codes, product, rows, cols, row_warps, col_warps, ahead, tokens, per_row, epilogue)      \
    {rsr::codes,                                                                                   \
     product,                                                                                      \
     rows,                                                                                         \
     cols,                                                                                         \
     row_warps,                                                                                    \
     col_warps,                                                                                    \
     ahead,                                                                                        \
     tokens,                                                                                       \
     per_row,                                                                                      \
     rsr::epilogue,                                                                                \
     MATVEC(codes, product, rows, cols, row_warps, col_warps, ahead, tokens, per_row,              \
            epilogue)::STEPS,                                                                      \
     MATVEC(codes, product, rows, cols, row_warps, col_warps, ahead, tokens, per_row,              \
            epilogue)::BLOCKS},
    EMULATED_KERNELS(X)
#undef X
};

const unsigned n_emulated_kernels = sizeof runners / sizeof runners[0];

static std::string error_text;

static const char *text_or_null(const std::string &error) {
    error_text = error;
    return error.empty() ? nullptr : error_text.c_str();
}

const char *run_emulated_kernel(unsigned number, const emulated_call *call) {
    return text_or_null(runners[number](*call));
}

const char *run_emulated_quantization(const emulated_quantization *call) {
    using kernel = rsr::quantization<128>;
    const kernel::arguments arguments = {call->x,   call->ldx,  call->y,
                                         call->ldy, call->cols, call->not_finite};
    const emulation::options options = {call->seed, call->skip_barrier, 0};
    return text_or_null(emulation::launch<kernel::memory>(
        call->n_tokens, 1, 128, options,
        [&](kernel::memory &shared) { kernel::run(shared, arguments); }));
}

struct nothing {};

const char *run_divergent_kernel(void) {
    return text_or_null(emulation::launch<nothing>(1, 1, 32, {}, [](nothing &) {
        if (threadIdx.x < 16)
            __reduce_max_sync(0xffffffffu, 1u);
        else
            __shfl_xor_sync(0xffffffffu, 1, 1);
    }));
}

const char *run_deadlocked_kernel(void) {
    return text_or_null(emulation::launch<nothing>(1, 1, 64, {}, [](nothing &) {
        if (threadIdx.x != 5)
            __syncthreads();
    }));
}
