// segment.cuh - y = W x with the sums of segments in shared memory, selected by codes.
//
// A segment has four columns here, and a row adds or subtracts each or leaves it out: that makes 81
// sums, whatever the rows are. Lanes are rows. A block goes through its rows in chunks of
// CHUNK_COLS columns: its threads make the sums of the chunk's segments, then each adds, for every
// segment, the sum that its row's code selects: an addition for four weights. A code is a byte,
// the number of the sum (compiler/kernels/gpu_segment/gpu_segment.h).
//
// A word has the sums of two tokens, token 0's plus 2^16 times token 1's. They are added as one
// number: over a chunk both stay within 16 bits, and then they are taken apart.
//
// Parameters and results are those of matvec.cuh.
// Launch with a grid of BLOCKS x (n_tokens / TOKENS, rounded up) blocks of THREADS threads.
#pragma once

#include "matvec.cuh"

namespace rsr {

template <unsigned MOST, unsigned ROWS, unsigned COLS, unsigned WARPS, bool SCALE_PER_ROW,
          epilogue EPILOGUE>
struct segment {
    enum : unsigned {
        TOKENS = MOST,
        WORDS = (TOKENS + 1) / 2, // of a sum
        SEGMENT_COLS = 4,
        SUMS = 81,     // of a segment
        SEGMENTS = 32, // of a chunk: as many as a warp has lanes
        LOADS = SEGMENTS / sizeof(uint4),
        CHUNK_COLS = SEGMENTS * SEGMENT_COLS,
        CHUNKS = (COLS + CHUNK_COLS - 1) / CHUNK_COLS,
        TILES = (ROWS + 31) / 32,
        BLOCKS = (TILES + WARPS - 1) / WARPS,
        THREADS = WARPS * 32,
    };
    static_assert(ACT_PAD % CHUNK_COLS == 0, "chunks do not go beyond an activation row");

    struct alignas(4 * WORDS) sum {
        int words[WORDS];
    };
    struct memory { // of a block, shared
        sum sums[SEGMENTS][SUMS];
    };

    static __device__ __forceinline__ unsigned lane() {
        return threadIdx.x % 32;
    }

    // The four columns of a lane's segment.
    static __device__ __forceinline__ void load(const arguments &a, unsigned first_token,
                                                unsigned chunk, sum (&x)[SEGMENT_COLS]) {
        unsigned words[TOKENS];
#pragma unroll
        for (unsigned t = 0; t < TOKENS; t++) {
            // Beyond the last token the last is read again. Every block has a first.
            const unsigned token = t == 0 ? first_token : min(first_token + t, a.n_tokens - 1);
            words[t] = *reinterpret_cast<const unsigned *>(a.x + token * a.ldx + sizeof(act_row) +
                                                           chunk * CHUNK_COLS + 4 * lane());
        }
#pragma unroll
        for (unsigned c = 0; c < SEGMENT_COLS; c++)
#pragma unroll
            for (unsigned w = 0; w < WORDS; w++) {
                x[c].words[w] = signed_byte(words[2 * w], c);
                if (2 * w + 1 < TOKENS)
                    x[c].words[w] += 65536 * signed_byte(words[(2 * w + 1) % TOKENS], c);
            }
    }

    // Makes the sums of a chunk. A lane has a segment, and a warp the 9 sums with equal weights of
    // columns 2 and 3. Neighbouring lanes store 81 sums apart, in different banks.
    static __device__ __forceinline__ void make_sums(memory &shared, const arguments &a,
                                                     unsigned first_token, unsigned chunk) {
        sum x[SEGMENT_COLS];
        load(a, first_token, chunk, x);
#pragma unroll 1
        for (unsigned high = threadIdx.x / 32; high < 9; high += WARPS) {
            const int w2 = static_cast<int>(high % 3) - 1, w3 = static_cast<int>(high / 3) - 1;
            sum *to = &shared.sums[lane()][high * 9];
            sum first;
#pragma unroll
            for (unsigned w = 0; w < WORDS; w++)
                first.words[w] =
                    w2 * x[2].words[w] + w3 * x[3].words[w] - x[1].words[w] - x[0].words[w];
#pragma unroll
            for (unsigned i = 0; i < 9; i++) {
                sum v;
#pragma unroll
                for (unsigned w = 0; w < WORDS; w++)
                    v.words[w] = first.words[w] + static_cast<int>(i % 3) * x[0].words[w] +
                                 static_cast<int>(i / 3) * x[1].words[w];
                to[i] = v;
            }
        }
    }

    // Adds the sums that 32 codes select.
    static __device__ __forceinline__ void add(const memory &shared, const uint4 (&packed)[LOADS],
                                               int (&acc)[TOKENS]) {
        sum chunk = {};
#pragma unroll
        for (unsigned i = 0; i < LOADS; i++) {
            const unsigned words[4] = {packed[i].x, packed[i].y, packed[i].z, packed[i].w};
#pragma unroll
            for (unsigned j = 0; j < sizeof(uint4); j++) {
                const unsigned code = words[j / 4] >> 8 * (j % 4) & 255;
                const sum selected = shared.sums[i * sizeof(uint4) + j][code];
#pragma unroll
                for (unsigned w = 0; w < WORDS; w++)
                    chunk.words[w] += selected.words[w];
            }
        }
#pragma unroll
        for (unsigned t = 0; t < TOKENS; t++) {
            const int both = chunk.words[t / 2], odd = (both + 32768) >> 16;
            acc[t] += TOKENS == 1 ? both : t % 2 == 0 ? both - odd * 65536 : odd;
        }
    }

    // The last block's spare warps compute the last rows again and store nothing.
    static __device__ __forceinline__ void run(memory &shared, const arguments &a) {
        const unsigned first_token = blockIdx.y * TOKENS,
                       warp = blockIdx.x * WARPS + threadIdx.x / 32;
        const unsigned row = warp * 32 + lane(), tile = min(warp, TILES - 1);
        const uint4 *codes = a.codes + static_cast<size_t>(tile) * CHUNKS * LOADS * 32 + lane();
        int acc[TOKENS] = {};
        allow_next();
        wait_for_launches();
#pragma unroll 1
        for (unsigned chunk = 0; chunk < CHUNKS; chunk++) {
            uint4 packed[LOADS];
#pragma unroll
            for (unsigned i = 0; i < LOADS; i++)
                packed[i] = __ldg(codes + (chunk * LOADS + i) * 32);
            make_sums(shared, a, first_token, chunk);
            __syncthreads();
            add(shared, packed, acc);
            __syncthreads();
        }
        const unsigned n_tokens = min(+TOKENS, a.n_tokens - first_token);
#pragma unroll
        for (unsigned t = 0; t < TOKENS; t++)
            if (row < ROWS && t < n_tokens)
                store_sum<SCALE_PER_ROW, EPILOGUE>(a, first_token + t, row, acc[t]);
    }
};

} // namespace rsr
