// grouped.cuh - layers with one input in one launch, and what follows them in its last blocks.
//
// The members' blocks follow each other in the grid; each is a block of matvec.cuh. A tail needs no
// barrier of the grid, and so no grid whose blocks all fit the GPU at once: every block counts
// itself when it has stored its rows, and the one that finds all others counted goes on. A chain on
// rows begins when all rows are there, a head when its own are: heads are then the work of many
// blocks, while others still multiply. A grid with a tail has one tile of tokens.
#pragma once

#include "fused.cuh"
#include "matvec.cuh"

namespace rsr {

enum : unsigned { MEMBERS = 3 };
enum : unsigned { NO_TAIL, CHAIN_TAIL, HEADS_TAIL }; // enum rsr_gpu_tail

// struct rsr_gpu_products of rsr_abi.h.
struct member {
    const uint4 *codes;
    const float *scale;
    float *y;
    size_t ldy;
    unsigned rows, end;
};
struct products {
    const char *x;
    size_t ldx;
    member members[MEMBERS];
    unsigned *counters;
    unsigned n_tokens, tail;
    rsr::chain chain;
    rsr::heads heads;
};
static_assert(sizeof(products) == 512, "the struct of rsr_abi.h has 512 bytes");

// One of three: parameters are no memory that could be indexed.
template <class T>
static __device__ __forceinline__ T choose(unsigned i, const T &a, const T &b, const T &c) {
    return i == 0 ? a : i == 1 ? b : c;
}

template <class MATVEC> struct group {
    enum : unsigned { THREADS = MATVEC::THREADS };
    using chain = row_chain<THREADS>;
    using heads = head_work<THREADS>;

    struct memory { // of a block, shared
        union {
            typename MATVEC::memory product;
            typename chain::memory chain_;
            typename heads::memory heads_;
        };
        bool last;
    };

    static __device__ __forceinline__ void run_chain(memory &shared, const products &p) {
        if (!is_last(shared.last, p.counters, p.members[MEMBERS - 1].end))
            return;
        for (unsigned token = 0; token < p.n_tokens; token++)
            chain::run(shared.chain_, p.chain, token);
    }

    // The heads of which the block has rows, of all tokens; `before`: those of the members before.
    static __device__ __forceinline__ void
    run_heads(memory &shared, const products &p, unsigned before, unsigned block, unsigned rows) {
        const unsigned size = p.heads.head_dim, block_rows = MATVEC::BLOCK_ROWS;
        const unsigned end = min((block + 1) * block_rows, rows);
        for (unsigned head = block * block_rows / size; head * size < end; head++) {
            const unsigned first_block = head * size / block_rows;
            const unsigned last_block = ((head + 1) * size - 1) / block_rows;
            if (!is_last(shared.last, p.counters + before + head, last_block - first_block + 1))
                continue;
            for (unsigned token = 0; token < p.n_tokens; token++)
                heads::run(shared.heads_, p.heads, token, before + head);
        }
    }

    static __device__ __forceinline__ void run(memory &shared, const products &p) {
        const member &a = p.members[0], &b = p.members[1], &c = p.members[2];
        const unsigned i = (blockIdx.x >= a.end) + (blockIdx.x >= b.end);
        const unsigned block = blockIdx.x - choose(i, 0u, a.end, b.end);
        const unsigned rows = choose(i, a.rows, b.rows, c.rows);
        MATVEC::run_block(shared.product,
                          {p.x, p.ldx, choose(i, a.codes, b.codes, c.codes),
                           choose(i, a.scale, b.scale, c.scale), choose(i, a.y, b.y, c.y),
                           choose(i, a.ldy, b.ldy, c.ldy), p.n_tokens},
                          block, rows);
        if (p.tail == CHAIN_TAIL)
            run_chain(shared, p);
        else if (p.tail == HEADS_TAIL)
            run_heads(shared, p,
                      choose(i, 0u, p.heads.n_heads, p.heads.n_heads + p.heads.n_kv_heads), block,
                      rows);
    }
};

} // namespace rsr
