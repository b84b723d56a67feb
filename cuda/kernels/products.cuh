// products.cuh - what a lane computes of a step: the products of its codes and activations, and at
// the end the sums of its warp's 16 rows.
//
// A lane, with g = lane / 4 and t = lane % 4, has four words of codes: of row g (words 0 and 2) and
// of row g + 8 (words 1 and 3). Words 0 and 1 belong to the same columns, and so do words 2 and 3.
#pragma once

#include "codes.cuh"
#include "instructions.cuh"

namespace rsr {

// A lane's activations for one or two groups of its words: for each group, four bytes for words 0
// and 1 and four for words 2 and 3, so that tensor cores find both in neighbouring registers.
struct activations {
    unsigned q[4];

    // Reads part 0, 1 (two groups each) or 2 (the fifth group) of a step that begins at byte
    // `begin` of the row. A `limited` step reads nothing at or after byte `end`; what it reads
    // instead belongs to codes of 0.
    __device__ __forceinline__ activations(const char *row, unsigned begin, unsigned part,
                                           bool limited, unsigned end) {
        const unsigned t = threadIdx.x % 4, at = begin + part * 64;
        if (part < 2) {
            const uint4 v = load_words(reinterpret_cast<const uint4 *>(
                limited ? row + min(at + t * 16, end - 16) : row + t * 16 + at));
            q[0] = v.x, q[1] = v.y, q[2] = v.z, q[3] = v.w;
        } else {
            const uint2 v = load_words(reinterpret_cast<const uint2 *>(
                limited ? row + min(at + t * 8, end - 8) : row + t * 8 + at));
            q[0] = v.x, q[1] = v.y, q[2] = 0, q[3] = 0;
        }
    }
};

// By dp4a. One token keeps a sum for every shift; more tokens share the shifted codes.
template <codes CODES, unsigned MOST> struct dot_product {
    enum : unsigned { TOKENS = MOST, LANE_TOKENS = TOKENS, ROWS_OF_LANE = 2 };
    using codec = rsr::codec<CODES, TOKENS == 1>;
    enum : unsigned { GROUPS = codec::GROUPS, SHIFTS = codec::SHIFTS };
    int sum[TOKENS][ROWS_OF_LANE][SHIFTS];

    // The token whose activations are the lane's i-th.
    static __device__ __forceinline__ unsigned token(unsigned i) {
        return i;
    }

    // load(i, part) gives the activations of the lane's i-th token.
    template <class Load>
    __device__ __forceinline__ void add(const unsigned (&words)[4], Load load) {
        codec codes[4] = {codec(words[0]), codec(words[1]), codec(words[2]), codec(words[3])};
#pragma unroll
        for (unsigned first = 0; first < GROUPS; first += 2) {
            const unsigned n = first + 1 < GROUPS ? 2 : 1;
            unsigned groups[2][4];
#pragma unroll
            for (unsigned i = 0; i < 4 * n; i++)
                groups[i / 4][i % 4] = codes[i % 4].next();
#pragma unroll
            for (unsigned t = 0; t < TOKENS; t++) {
                const activations x = load(t, first / 2);
#pragma unroll
                for (unsigned i = 0; i < 4 * n; i++) {
                    int &s = sum[t][i % 2][codec::shift(first + i / 4) / 2];
                    s = dp4a_us(groups[i / 4][i % 4], x.q[i / 4 * 2 + i % 4 / 2], s);
                }
            }
        }
    }

    // Calls store(token, row, sum) for the warp's rows, each once.
    template <class Store> __device__ __forceinline__ void finish(Store store) const {
#pragma unroll
        for (unsigned t = 0; t < TOKENS; t++)
#pragma unroll
            for (unsigned r = 0; r < ROWS_OF_LANE; r++) {
                int total = 0;
#pragma unroll
                for (unsigned i = 0; i < SHIFTS; i++)
                    total += sum[t][r][i] >> 2 * i;
                total += __shfl_xor_sync(0xffffffffu, total, 2);
                total += __shfl_xor_sync(0xffffffffu, total, 1);
                if (threadIdx.x % 4 == 0)
                    store(t, threadIdx.x % 32 / 4 + 8 * r, total);
            }
    }
};

// By tensor cores, for eight tokens: a lane has the activations of token g.
template <codes CODES> struct mma_product {
    enum : unsigned { TOKENS = 8, LANE_TOKENS = 1 };
    using codec = rsr::codec<CODES, true>;
    enum : unsigned { GROUPS = codec::GROUPS, SHIFTS = codec::SHIFTS };
    int sum[SHIFTS][4];

    static __device__ __forceinline__ unsigned token(unsigned) {
        return threadIdx.x % 32 / 4;
    }

    template <class Load>
    __device__ __forceinline__ void add(const unsigned (&words)[4], Load load) {
        codec codes[4] = {codec(words[0]), codec(words[1]), codec(words[2]), codec(words[3])};
#pragma unroll
        for (unsigned first = 0; first < GROUPS; first += 2) {
            const activations x = load(0, first / 2);
#pragma unroll
            for (unsigned i = 0; i < 2 && first + i < GROUPS; i++) {
                unsigned a[4];
#pragma unroll
                for (unsigned w = 0; w < 4; w++)
                    a[w] = codes[w].next();
                mma_us(sum[codec::shift(first + i) / 2], a, x.q[2 * i], x.q[2 * i + 1]);
            }
        }
    }

    template <class Store> __device__ __forceinline__ void finish(Store store) const {
#pragma unroll
        for (unsigned i = 0; i < 4; i++) {
            int total = 0;
#pragma unroll
            for (unsigned s = 0; s < SHIFTS; s++)
                total += sum[s][i] >> 2 * s;
            store(threadIdx.x % 4 * 2 + i % 2, threadIdx.x % 32 / 4 + i / 2 * 8, total);
        }
    }
};

} // namespace rsr
