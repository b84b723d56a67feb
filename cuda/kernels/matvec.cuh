// matvec.cuh - y = W x for one ternary or binary matrix of a shape that is known when it is
// compiled.
//
// A warp works on 16 rows. Its loads of 16 bytes a lane are 512 consecutive bytes: the codes of 128
// or 160 columns of these rows (products.cuh). That is a step, and STEPS steps cover a row.
// ROW_WARPS warps of a block work on different rows, and COL_WARPS warps share their rows' steps,
// each taking every COL_WARPS-th. A lane has AHEAD loads in flight. Codes are weight + 1, so the
// sum of the activations is subtracted once at the end. Activations are read where they lie: a row
// is read by all warps of a multiprocessor, and stays in its first cache.
// PRODUCT::TOKENS tokens share one reading of the codes; further tokens are further blocks.
//
//   x: activation rows (rsr_abi.h), ldx bytes apart
//   SCALE  y: floats, (float)acc * (x scale * weight scale), rows ldy elements apart
//   RAW    y: int32 acc
//
// Launch with a grid of BLOCKS x (n_tokens / TOKENS, rounded up) blocks of THREADS threads.
#pragma once

#include "activations.cuh"
#include "products.cuh"

namespace rsr {

enum epilogue { SCALE, RAW };

struct arguments {
    const char *x;
    size_t ldx;
    const uint4 *codes;
    const float *scale; // one scale, or one per row
    void *y;
    size_t ldy;
    unsigned n_tokens;
};

// Stores a row's sum for a token, as y has it.
template <bool SCALE_PER_ROW, epilogue EPILOGUE>
static __device__ __forceinline__ void store_sum(const arguments &a, size_t token, unsigned row,
                                                 int acc) {
    if constexpr (EPILOGUE == SCALE) {
        const float x_scale = reinterpret_cast<const act_row *>(a.x + token * a.ldx)->scale;
        static_cast<float *>(a.y)[token * a.ldy + row] =
            static_cast<float>(acc) * (x_scale * a.scale[SCALE_PER_ROW ? row : 0]);
    } else {
        static_cast<int *>(a.y)[token * a.ldy + row] = acc;
    }
}

template <class PRODUCT, unsigned ROWS, unsigned COLS, unsigned ROW_WARPS, unsigned COL_WARPS,
          unsigned AHEAD, bool SCALE_PER_ROW, epilogue EPILOGUE>
struct matvec {
    // This is an enumeration because constexpr members would become variables in the PTX.
    enum : unsigned {
        WARP_ROWS = 16,
        TOKENS = PRODUCT::TOKENS,
        LANE_TOKENS = PRODUCT::LANE_TOKENS,
        STEP_COLS = 32 * PRODUCT::GROUPS,
        STEPS = (COLS + STEP_COLS - 1) / STEP_COLS,
        WARP_STEPS = (STEPS + COL_WARPS - 1) / COL_WARPS, // at most
        SPARE = WARP_STEPS * COL_WARPS - STEPS,           // so many warps have a step less
        LOOP_STEPS = WARP_STEPS > 2 * AHEAD ? (WARP_STEPS - 1 - AHEAD) / AHEAD *AHEAD : 0,
        ROW_BYTES = (COLS + ACT_PAD - 1) / ACT_PAD * ACT_PAD,
        IS_LONG = STEPS * STEP_COLS > ROW_BYTES, // the last step goes beyond an activation row
        THREADS = ROW_WARPS * COL_WARPS * 32,
        BLOCK_ROWS = ROW_WARPS * WARP_ROWS,
        ROW_GROUPS = (ROWS + WARP_ROWS - 1) / WARP_ROWS,
        BLOCKS = (ROW_GROUPS + ROW_WARPS - 1) / ROW_WARPS,
    };

    struct memory {                                     // of a block, shared
        int partial[COL_WARPS][TOKENS][BLOCK_ROWS + 4]; // 4: for other banks
    };

    // What a warp reads next: its codes, and a lane's activations.
    struct place {
        const uint4 *codes;
        const char *x[LANE_TOKENS];
        unsigned first; // of the rows' steps
        bool is_spare;  // the warp has no last step

        // The last block's spare warps repeat the last rows and store nothing. Beyond the last
        // token the last is read again.
        __device__ __forceinline__ place(const arguments &a, unsigned first_token, unsigned block,
                                         unsigned row_groups) {
            const unsigned warp = threadIdx.x / 32;
            const unsigned group = min(block * ROW_WARPS + warp % ROW_WARPS, row_groups - 1);
            first = warp / ROW_WARPS;
            is_spare = first >= COL_WARPS - SPARE;
            codes = a.codes + (static_cast<size_t>(group) * STEPS + first) * 32 + threadIdx.x % 32;
#pragma unroll
            for (unsigned i = 0; i < LANE_TOKENS; i++) {
                const unsigned token = min(first_token + PRODUCT::token(i), a.n_tokens - 1);
                x[i] = a.x + token * a.ldx + sizeof(act_row) + first * STEP_COLS;
            }
        }

        __device__ __forceinline__ uint4 load(unsigned i) const {
            return __ldg(codes + i * (COL_WARPS * 32));
        }

        __device__ __forceinline__ void advance(unsigned n_steps) {
            codes += n_steps * (COL_WARPS * 32);
#pragma unroll
            for (unsigned i = 0; i < LANE_TOKENS; i++)
                x[i] += n_steps * (COL_WARPS * STEP_COLS);
        }
    };

    // `end`: bytes of activations from the warp's place on, for the last step.
    static __device__ __forceinline__ void multiply_step(PRODUCT &product, const uint4 &packed,
                                                         const place &at, unsigned i, bool is_last,
                                                         unsigned end) {
        const unsigned words[4] = {packed.x, packed.y, packed.z, packed.w};
        product.add(words, [&](unsigned t, unsigned part) {
            // Compilers would move all loads of activations to the beginning, and spill them.
            asm volatile("" ::: "memory");
            return activations(at.x[t], i * (COL_WARPS * STEP_COLS), part, is_last && IS_LONG, end);
        });
    }

    // A loop over the steps that begin the load of a later one, unconditionally, then the others.
    static __device__ __forceinline__ void multiply(place at, PRODUCT &product) {
        uint4 window[AHEAD]; // the loads under way
#pragma unroll
        for (unsigned i = 0; i < AHEAD; i++)
            window[i] = has(at, i) ? at.load(i) : make_uint4(0, 0, 0, 0);
        wait_for_launches(); // codes are no launch's
#pragma unroll 1
        for (unsigned begin = 0; begin < LOOP_STEPS; begin += AHEAD) {
#pragma unroll
            for (unsigned i = 0; i < AHEAD; i++) {
                multiply_step(product, window[i], at, i, false, 0);
                window[i] = at.load(i + AHEAD);
            }
            at.advance(AHEAD);
        }
        const unsigned end = ROW_BYTES - (at.first + LOOP_STEPS * COL_WARPS) * STEP_COLS;
#pragma unroll
        for (unsigned i = 0; i < WARP_STEPS - LOOP_STEPS; i++) {
            if (!has(at, LOOP_STEPS + i))
                break;
            multiply_step(product, window[i % AHEAD], at, i, LOOP_STEPS + i + 1 == WARP_STEPS, end);
            if (has(at, LOOP_STEPS + i + AHEAD))
                window[i % AHEAD] = at.load(i + AHEAD);
        }
    }

    // Whether the warp has its i-th step; for all but the last this is known to the compiler.
    static __device__ __forceinline__ bool has(const place &at, unsigned i) {
        return i + 1 < WARP_STEPS || (i + 1 == WARP_STEPS && (SPARE == 0 || !at.is_spare));
    }

    static __device__ __forceinline__ void store(const memory &shared, const arguments &a,
                                                 unsigned first, unsigned block, unsigned rows) {
        const unsigned n_tokens = min(+TOKENS, a.n_tokens - first);
        for (unsigned i = threadIdx.x; i < n_tokens * BLOCK_ROWS; i += THREADS) {
            const unsigned t = i / BLOCK_ROWS, row = block * BLOCK_ROWS + i % BLOCK_ROWS;
            if (row >= rows)
                continue;
            const size_t token = first + t;
            int acc = -reinterpret_cast<const act_row *>(a.x + token * a.ldx)->sum;
#pragma unroll
            for (unsigned c = 0; c < COL_WARPS; c++)
                acc += shared.partial[c][t][i % BLOCK_ROWS];
            store_sum<SCALE_PER_ROW, EPILOGUE>(a, token, row, acc);
        }
    }

    static __device__ __forceinline__ void run(memory &shared, const arguments &a) {
        run_block(shared, a, blockIdx.x, +ROWS);
    }

    // A block of a matrix of so many rows.
    static __device__ __forceinline__ void run_block(memory &shared, const arguments &a,
                                                     unsigned block, unsigned rows) {
        const unsigned first = blockIdx.y * TOKENS;
        const place at(a, first, block, (rows + WARP_ROWS - 1) / WARP_ROWS);
        allow_next();
        PRODUCT product = {};
        multiply(at, product);
        int(&partial)[TOKENS][BLOCK_ROWS + 4] = shared.partial[at.first];
        const unsigned first_row = threadIdx.x / 32 % ROW_WARPS * WARP_ROWS;
        product.finish(
            [&](unsigned t, unsigned row, int sum) { partial[t][first_row + row] = sum; });
        __syncthreads();
        store(shared, a, first, block, rows);
    }
};

} // namespace rsr
