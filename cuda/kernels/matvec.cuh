// matvec.cuh - y = W x for one ternary or binary matrix of a shape that is known when it is
// compiled.
//
// A warp works on four rows with eight lanes each. A lane's 16-byte load has 64 or 80 codes
// (codes.cuh) of its row; the loads of a warp are 512 consecutive bytes. That is a step, and STEPS
// steps cover a row. ROW_WARPS warps of a block work on different rows, and COL_WARPS warps share a
// row's steps. Codes are weight + 1, so the sum of the activations is subtracted once at the end.
// Each lane has AHEAD loads in flight, and issues the first ones before it reads the activations.
// TOKENS tokens share one reading of the codes; more tokens are computed in turns.
//
//   x: activation rows (rsr_abi.h), ldx bytes apart
//   SCALE  y: floats, (float)acc * (x scale * weight scale), rows ldy elements apart
//   RAW    y: int32 acc
//
// Launch with BLOCKS blocks of THREADS threads.
#pragma once

#include "activations.cuh"
#include "codes.cuh"

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

template <codes CODES, unsigned ROWS, unsigned COLS, unsigned ROW_WARPS, unsigned COL_WARPS,
          unsigned AHEAD, unsigned TOKENS, bool SCALE_PER_ROW, epilogue EPILOGUE>
struct matvec {
    // This is an enumeration because constexpr members would become variables in the PTX.
    enum : unsigned {
        LANES = 8, // on one row
        WARP_ROWS = 32 / LANES,
        GROUPS = codec<CODES>::GROUPS,
        STEP_COLS = LANES * 16 * GROUPS,
        STEPS = (COLS + STEP_COLS - 1) / STEP_COLS,
        WARP_STEPS = (STEPS + COL_WARPS - 1) / COL_WARPS,
        WARPS = ROW_WARPS * COL_WARPS,
        THREADS = WARPS * 32,
        BLOCK_ROWS = ROW_WARPS * WARP_ROWS,
        ROW_GROUPS = (ROWS + WARP_ROWS - 1) / WARP_ROWS,
        BLOCKS = (ROW_GROUPS + ROW_WARPS - 1) / ROW_WARPS,
    };

    struct memory { // of a block, shared
        uint4 q[TOKENS][STEPS * STEP_COLS / 16];
        int partial[COL_WARPS][TOKENS][BLOCK_ROWS];
    };

    // Copies the values of activation rows, with zeros up to whole steps. Ends with a barrier.
    static __device__ __forceinline__ void copy_rows(memory &shared, const char *x, size_t ldx,
                                                     unsigned n_tokens) {
        for (unsigned t = 0; t < n_tokens; t++) {
            const uint4 *from = reinterpret_cast<const uint4 *>(x + t * ldx + sizeof(act_row));
            for (unsigned i = threadIdx.x; i < STEPS * STEP_COLS / 16; i += THREADS)
                shared.q[t][i] = i < (COLS + 15) / 16 ? from[i] : make_uint4(0, 0, 0, 0);
        }
        __syncthreads();
    }

    struct window { // the loads under way
        uint4 codes[AHEAD];
    };

    // The warp's four rows; the last block's spare warps repeat the last rows and store nothing.
    static __device__ __forceinline__ const uint4 *first_codes(const uint4 *codes) {
        const unsigned group = blockIdx.x * ROW_WARPS + threadIdx.x / 32 % ROW_WARPS;
        return codes + static_cast<size_t>(min(group, ROW_GROUPS - 1)) * (STEPS * 32) +
               threadIdx.x % 32;
    }

    static __device__ __forceinline__ void multiply_step(const memory &shared, const uint4 &packed,
                                                         unsigned step, unsigned n_tokens,
                                                         int (&acc)[TOKENS]) {
        unsigned code[4][GROUPS];
        codec<CODES>::unpack(packed.x, code[0]);
        codec<CODES>::unpack(packed.y, code[1]);
        codec<CODES>::unpack(packed.z, code[2]);
        codec<CODES>::unpack(packed.w, code[3]);
        const auto group = [&code](unsigned i) {
            return static_cast<int>(code[i / GROUPS][i % GROUPS]);
        };
#pragma unroll
        for (unsigned t = 0; t < TOKENS; t++) {
            if (t >= n_tokens)
                break;
            const uint4 *row = shared.q[t] + step * (GROUPS * LANES) + threadIdx.x % LANES;
#pragma unroll
            for (unsigned i = 0; i < GROUPS; i++) {
                const uint4 q = row[i * LANES];
                acc[t] = __dp4a(group(4 * i), static_cast<int>(q.x), acc[t]);
                acc[t] = __dp4a(group(4 * i + 1), static_cast<int>(q.y), acc[t]);
                acc[t] = __dp4a(group(4 * i + 2), static_cast<int>(q.z), acc[t]);
                acc[t] = __dp4a(group(4 * i + 3), static_cast<int>(q.w), acc[t]);
            }
        }
    }

    static __device__ __forceinline__ void start_loads(const uint4 *codes, window &loads) {
#pragma unroll
        for (unsigned i = 0; i < AHEAD; i++) {
            const unsigned step = threadIdx.x / 32 / ROW_WARPS + i * COL_WARPS;
            loads.codes[i] = step < STEPS ? __ldg(codes + step * 32) : make_uint4(0, 0, 0, 0);
        }
    }

    static __device__ __forceinline__ void multiply(const memory &shared, const uint4 *codes,
                                                    window &loads, unsigned n_tokens,
                                                    int (&acc)[TOKENS]) {
#pragma unroll 1
        for (unsigned begin = 0; begin < WARP_STEPS; begin += AHEAD) {
#pragma unroll
            for (unsigned i = 0; i < AHEAD; i++) {
                const unsigned step = threadIdx.x / 32 / ROW_WARPS + (begin + i) * COL_WARPS;
                const unsigned next = step + AHEAD * COL_WARPS;
                if (step >= STEPS)
                    break;
                const uint4 packed = loads.codes[i];
                if (next < STEPS)
                    loads.codes[i] = __ldg(codes + next * 32);
                multiply_step(shared, packed, step, n_tokens, acc);
            }
        }
    }

    // Writes the sums of a row's lanes to shared memory. Ends with a barrier.
    static __device__ __forceinline__ void gather(memory &shared, unsigned n_tokens,
                                                  int (&acc)[TOKENS]) {
        const unsigned warp = threadIdx.x / 32;
        const unsigned row = warp % ROW_WARPS * WARP_ROWS + threadIdx.x % 32 / LANES;
#pragma unroll
        for (unsigned t = 0; t < TOKENS; t++) {
            if (t >= n_tokens)
                break;
#pragma unroll
            for (unsigned distance = LANES / 2; distance != 0; distance /= 2)
                acc[t] += __shfl_xor_sync(0xffffffffu, acc[t], distance);
            if (threadIdx.x % LANES == 0)
                shared.partial[warp / ROW_WARPS][t][row] = acc[t];
        }
        __syncthreads();
    }

    static __device__ __forceinline__ void store(const memory &shared, const arguments &a,
                                                 unsigned first_token, unsigned n_tokens) {
        for (unsigned i = threadIdx.x; i < n_tokens * BLOCK_ROWS; i += THREADS) {
            const unsigned t = i / BLOCK_ROWS;
            const unsigned row = blockIdx.x * BLOCK_ROWS + i % BLOCK_ROWS;
            if (row >= ROWS)
                continue;
            int acc = 0;
#pragma unroll
            for (unsigned c = 0; c < COL_WARPS; c++)
                acc += shared.partial[c][t][i % BLOCK_ROWS];
            const size_t token = first_token + t;
            const act_row *x = reinterpret_cast<const act_row *>(a.x + token * a.ldx);
            acc -= x->sum;
            if constexpr (EPILOGUE == SCALE)
                static_cast<float *>(a.y)[token * a.ldy + row] =
                    static_cast<float>(acc) * (x->scale * a.scale[SCALE_PER_ROW ? row : 0]);
            else
                static_cast<int *>(a.y)[token * a.ldy + row] = acc;
        }
    }

    static __device__ __forceinline__ void run(memory &shared, const arguments &a) {
        const uint4 *codes = first_codes(a.codes);
        for (unsigned first = 0; first < a.n_tokens; first += TOKENS) {
            const unsigned n_tokens = min(TOKENS, a.n_tokens - first);
            window loads;
            start_loads(codes, loads);
            copy_rows(shared, a.x + first * a.ldx, a.ldx, n_tokens);
            int acc[TOKENS] = {};
            multiply(shared, codes, loads, n_tokens, acc);
            gather(shared, n_tokens, acc);
            store(shared, a, first, n_tokens);
        }
    }
};

} // namespace rsr
