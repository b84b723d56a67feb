// fold.cuh - y = W x with the segment index as instructions: a member of a segment is an addition
// of its column, a sign its opcode.
//
// Lanes are tokens, so that one instruction serves 32 tokens. A warp works on WARP_ROWS rows, whose
// sums it has in registers, and on one chunk of CHUNK_COLS columns after another. The warps of a
// block work on different rows. Together they bring a chunk of activations to shared memory,
// transposed; then each warp loads its columns to registers, once for all of its rows, and executes
// the body of its rows and the chunk. BODIES::add(n, columns, sums) is body n: it reads columns and
// adds to sums, both arrays of int that are addressed in bytes (compiler/kernel/fold_body.h). All
// warps go through all chunks, because they wait for each other.
//
// Parameters and results are those of matvec.cuh; there are no codes.
// Launch with a grid of BLOCKS x (n_tokens / 32, rounded up) blocks of THREADS threads.
#pragma once

#include "matvec.cuh"

namespace rsr {

// What the bodies' text names: types, loads and stores of 32-bit scalars.
using int32_t = int;
enum memory_type { i32 };
static __device__ __forceinline__ int load(memory_type, const char *p) {
    return *reinterpret_cast<const int *>(p);
}
static __device__ __forceinline__ void store(memory_type, char *p, int v) {
    *reinterpret_cast<int *>(p) = v;
}

template <class BODIES, unsigned ROWS, unsigned COLS, unsigned WARP_ROWS, unsigned CHUNK_COLS,
          unsigned WARPS, bool SCALE_PER_ROW, epilogue EPILOGUE>
struct fold {
    enum : unsigned {
        TOKENS = 32,
        LOAD_COLS = 16, // of one load
        LOADS = CHUNK_COLS / LOAD_COLS,
        CHUNKS = (COLS + CHUNK_COLS - 1) / CHUNK_COLS,
        ROW_BYTES = (COLS + ACT_PAD - 1) / ACT_PAD * ACT_PAD,
        TILES = (ROWS + WARP_ROWS - 1) / WARP_ROWS,
        BLOCKS = (TILES + WARPS - 1) / WARPS,
        THREADS = WARPS * 32,
    };
    static_assert(CHUNK_COLS % LOAD_COLS == 0, "chunks are whole loads");

    struct memory { // of a block, shared
        int columns[CHUNK_COLS][TOKENS];
        int sums[WARPS][WARP_ROWS][TOKENS + 1]; // 1: for other banks
    };

    static __device__ __forceinline__ unsigned lane() {
        return threadIdx.x % 32;
    }

    // Brings a chunk to shared memory. A load has 16 columns of each lane's token; the loads are
    // shared out over the warps. Columns beyond an activation row are of no weight.
    static __device__ __forceinline__ void transpose(memory &shared, const char *x,
                                                     unsigned chunk) {
        for (unsigned i = threadIdx.x / 32; i < LOADS; i += WARPS) {
            const unsigned col = chunk * CHUNK_COLS + i * LOAD_COLS;
            if (col >= ROW_BYTES)
                break;
            const uint4 v = load_words(reinterpret_cast<const uint4 *>(x + col));
            const unsigned words[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
            for (unsigned j = 0; j < LOAD_COLS; j++)
                shared.columns[i * LOAD_COLS + j][lane()] = signed_byte(words[j / 4], j % 4);
        }
    }

    // The last block's spare warps execute the last rows' bodies and store nothing.
    static __device__ __forceinline__ void multiply(memory &shared, const char *x, unsigned tile,
                                                    int (&sums)[WARP_ROWS]) {
#pragma unroll 1
        for (unsigned chunk = 0; chunk < CHUNKS; chunk++) {
            transpose(shared, x, chunk);
            __syncthreads();
            int columns[CHUNK_COLS];
#pragma unroll
            for (unsigned i = 0; i < CHUNK_COLS; i++)
                columns[i] = shared.columns[i][lane()];
            __syncthreads();
            BODIES::add(tile * CHUNKS + chunk, reinterpret_cast<const char *>(columns),
                        reinterpret_cast<char *>(sums));
        }
    }

    // Lanes become rows: their results are consecutive.
    static __device__ __forceinline__ void
    finish(memory &shared, const arguments &a, unsigned first_token, const int (&sums)[WARP_ROWS]) {
        int(&tile)[WARP_ROWS][TOKENS + 1] = shared.sums[threadIdx.x / 32];
        const unsigned row = (blockIdx.x * WARPS + threadIdx.x / 32) * WARP_ROWS + lane();
        const unsigned n_tokens = min(+TOKENS, a.n_tokens - first_token);
#pragma unroll
        for (unsigned i = 0; i < WARP_ROWS; i++)
            tile[i][lane()] = sums[i];
        __syncthreads();
        if (lane() >= WARP_ROWS || row >= ROWS)
            return;
        for (unsigned t = 0; t < n_tokens; t++)
            store_sum<SCALE_PER_ROW, EPILOGUE>(a, first_token + t, row, tile[lane()][t]);
    }

    // Beyond the last token the last is computed again, and not stored.
    static __device__ __forceinline__ void run(memory &shared, const arguments &a) {
        const unsigned first_token = blockIdx.y * TOKENS;
        allow_next();
        wait_for_launches();
        const unsigned token = min(first_token + lane(), a.n_tokens - 1);
        const unsigned tile = min(blockIdx.x * WARPS + threadIdx.x / 32, TILES - 1);
        int sums[WARP_ROWS] = {};
        multiply(shared, a.x + token * a.ldx + sizeof(act_row), tile, sums);
        finish(shared, a, first_token, sums);
    }
};

} // namespace rsr
