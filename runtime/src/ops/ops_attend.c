/* ops_attend.c - query heads against one KV page, and merging pages. Order: ops.h.
 *
 * Heads that attend to one page share its reads. The registers hold some heads at once; the other
 * heads follow while the rows are still in the first cache. Rows are read in the order of memory
 * (keys, values, the next page's keys) and are prefetched some rows before their turn.
 *
 * One code serves rows of all types: it widens them in registers, and `type` is a constant wherever
 * it is passed on.
 */
#include <math.h>

#include "host/fetch_line.h"
#include "ops_functions.h"

/* Heads whose scores are kept at once. */
#define BLOCK_HEADS 8u
/* Heads in registers at once. Each has the sums of four keys, or of VALUE_VECTORS outputs. Without
 * 32 vectors of 16 lanes only one head fits. */
#define CHUNK_HEADS (RSR_NATIVE == 16 ? 4u : 1u)
/* Vectors of 16 output elements summed at once. */
#define VALUE_VECTORS (RSR_NATIVE == 4 ? 2u : 4u)
/* wide_values(), where values are prefetched to the second cache, takes blocks of WIDE_ROWS rows.
 * Two heads at once read whole rows; the later heads find them in the first cache. Blocks of 4 rows
 * take longer, blocks of 16 rows take as long. */
#define WIDE_ROWS 8u
#define WIDE_HEADS 2u
#define WIDE_VECTORS 8u /* of 16 output elements: a row */
#define WIDE_FLOATS (16 * WIDE_VECTORS)

/* A page as a block of heads sees it. */
struct block {
    const struct rsr_attend_head *heads;
    uint32_t n_heads;
    const struct rsr_attend_page *page;
    bool fetch; /* prefetch rows; true for the first block of a page */
    /* scores, then weights; a NaN of either stays in the sums */
    float z[BLOCK_HEADS][RSR_PAGE_TOKENS];
    bool merges[BLOCK_HEADS]; /* with the sums of earlier pages; each side times its factor */
    float old_factor[BLOCK_HEADS], new_factor[BLOCK_HEADS];
};

/* Rows are prefetched this many rows before their turn: 4 KiB for rows of 128 elements to the first
 * cache, 8 KiB to the second, where 16 KiB are no better. */
RSR_INLINE uint32_t rows_ahead(enum rsr_kv_type type, bool far) {
    return (far ? 64 : 32) / rsr_kv_element_bytes(type);
}

/* The row to prefetch while row j of `rows` is read: a later row of `rows`, or one of `then` after
 * the last. */
RSR_INLINE const char *ahead_of(const struct block *b, enum rsr_kv_type type, bool far,
                                const void *rows, const void *then, uint32_t j) {
    const size_t row_bytes = rsr_kv_row_bytes(type, b->page->row_floats);
    const uint32_t to = j + rows_ahead(type, far), n_keys = b->page->n_keys;
    return to < n_keys ? (const char *)rows + to * row_bytes
                       : (const char *)then + (to - n_keys) * row_bytes;
}

static uint32_t chunk_of(uint32_t n_left) {
    return n_left >= CHUNK_HEADS ? CHUNK_HEADS : 1;
}

/* Computes z[j] .. z[j + 3] of n_heads heads, from head `first` on. */
RSR_INLINE void score4(struct block *b, enum rsr_kv_type type, bool far, uint32_t row_floats,
                       uint32_t first, uint32_t n_heads, uint32_t j, float scale, bool fetch) {
    const uint32_t element_bytes = rsr_kv_element_bytes(type);
    const size_t row_bytes = rsr_kv_row_bytes(type, row_floats);
    const char *k = (const char *)b->page->keys + j * row_bytes;
    const char *ahead = ahead_of(b, type, far, b->page->keys, b->page->values, j);
    float scales[4];
    for (uint32_t i = 0; i < 4; i++)
        scales[i] = rsr_row_scale(k + i * row_bytes, type, row_floats);
    struct rsr_f16 acc[CHUNK_HEADS][4];
    for (uint32_t h = 0; h < n_heads; h++)
        for (uint32_t i = 0; i < 4; i++)
            acc[h][i] = rsr_zero16();
    for (uint32_t d = 0; d < row_floats; d += 16) {
        struct rsr_f16 q[CHUNK_HEADS];
        for (uint32_t h = 0; h < n_heads; h++)
            q[h] = rsr_load16(b->heads[first + h].q + d);
        for (uint32_t i = 0; i < 4; i++) {
            const struct rsr_f16 key = rsr_load_row16(k + i * row_bytes, type, d, scales[i]);
            if (fetch && i < element_bytes) /* 16 elements of four rows fill element_bytes lines */
                rsr_fetch_line(ahead + (size_t)4 * d * element_bytes + (size_t)64 * i, far);
            for (uint32_t h = 0; h < n_heads; h++)
                acc[h][i] = rsr_add_product(acc[h][i], key, q[h]);
        }
    }
#if RSR_NATIVE == 16
    if (n_heads == CHUNK_HEADS) { /* 4 */
        const rsr_vf s = rsr_sum16_of16(acc) * scale;
        for (uint32_t h = 0; h < CHUNK_HEADS; h++)
            memcpy(b->z[first + h] + j, (const char *)&s + h * sizeof(rsr_v4f), sizeof(rsr_v4f));
        return;
    }
#endif
    for (uint32_t h = 0; h < n_heads; h++) {
        rsr_v4f s = rsr_sum16_of4(acc[h]) * scale;
        memcpy(b->z[first + h] + j, &s, sizeof(s));
    }
}

/* Computes the scores of a page; they are -infinity after its last key. Rows up to the next
 * multiple of four are read (they are inside the page) and dropped. row_floats is the page's; if
 * the compiler knows it as a constant, all attention takes 3 % less time. */
RSR_INLINE void page_scores(struct block *b, enum rsr_kv_type type, bool far, uint32_t row_floats,
                            float scale) {
    const uint32_t n_keys = b->page->n_keys;
    for (uint32_t j = 0; j < n_keys; j += 4) {
        for (uint32_t h = 0, n; h < b->n_heads; h += n) {
            n = chunk_of(b->n_heads - h);
            if (n > 1 && h == 0 && b->fetch)
                score4(b, type, far, row_floats, h, CHUNK_HEADS, j, scale, true);
            else if (n > 1)
                score4(b, type, far, row_floats, h, CHUNK_HEADS, j, scale, false);
            else if (h == 0 && b->fetch)
                score4(b, type, far, row_floats, h, 1, j, scale, true);
            else
                score4(b, type, far, row_floats, h, 1, j, scale, false);
        }
    }
    for (uint32_t h = 0; h < b->n_heads; h++)
        for (uint32_t j = n_keys; j < RSR_PAGE_TOKENS; j++)
            b->z[h][j] = -INFINITY;
}

/* The largest of the scores. It may miss a NaN, because a NaN stays in the sum. */
float RSR_OPS(largest_score)(const float *z) {
    struct rsr_f16 largest = rsr_load16(z);
    for (uint32_t j = 16; j < RSR_PAGE_TOKENS; j += 16) {
        struct rsr_f16 x = rsr_load16(z + j);
        RSR_EACH_PART(i)
        largest.part[i] = rsr_larger(x.part[i], largest.part[i]);
    }
    return rsr_max16(largest);
}

/* z becomes p = exp(z - max); returns the sum of p. */
static float exp_scores(float *z, float max) {
    struct rsr_f16 sum = rsr_zero16();
    for (uint32_t j = 0; j < RSR_PAGE_TOKENS; j += 16) {
        struct rsr_f16 p = rsr_load16(z + j);
        RSR_EACH_PART(i) {
            p.part[i] = rsr_exp(p.part[i] - max);
            sum.part[i] = sum.part[i] + p.part[i];
        }
        rsr_store16(z + j, p);
    }
    return rsr_sum16(sum);
}

/* Turns scores into weights and brings the states to their values after the page. It prefetches
 * values, too, so that memory is not idle: the rows after those that the scores prefetched. */
static void weigh_page(struct block *b, size_t row_bytes, uint32_t n_fetched, bool far) {
    struct rsr_attend_state pages[BLOCK_HEADS];
    float factors[2 * BLOCK_HEADS] = {0.0f};
    for (uint32_t h = 0; h < b->n_heads; h++)
        pages[h].max = RSR_OPS(largest_score)(b->z[h]);
    for (uint32_t h = 0; h < b->n_heads; h++) {
        if (b->fetch)
            for (size_t i = 0; i < 2 * row_bytes; i += 64)
                rsr_fetch_line((const char *)b->page->values + (n_fetched + 2 * h) * row_bytes + i,
                               far);
        const struct rsr_attend_state *state = b->heads[h].state;
        pages[h].sum = exp_scores(b->z[h], pages[h].max);
        b->merges[h] = state->sum != 0.0f;
        const float max = !b->merges[h] || pages[h].max > state->max ? pages[h].max : state->max;
        factors[h] = b->merges[h] ? state->max - max : 0.0f;
        factors[BLOCK_HEADS + h] = pages[h].max - max;
    }
    RSR_OPS(exp)(factors, factors, 2 * BLOCK_HEADS);
    for (uint32_t h = 0; h < b->n_heads; h++) {
        struct rsr_attend_state *state = b->heads[h].state;
        if (!b->merges[h]) {
            *state = pages[h];
            continue;
        }
        b->old_factor[h] = factors[h];
        b->new_factor[h] = factors[BLOCK_HEADS + h];
        state->max = pages[h].max > state->max ? pages[h].max : state->max;
        state->sum = state->sum * factors[h] + pages[h].sum * factors[BLOCK_HEADS + h];
    }
}

/* Merges the page's sums into 16 output elements. */
RSR_INLINE void merge16(const struct block *b, uint32_t head, uint32_t d, struct rsr_f16 sum) {
    float *out = b->heads[head].out + d;
    if (b->merges[head]) {
        const struct rsr_f16 old = rsr_load16(out);
        RSR_EACH_PART(i)
        sum.part[i] = old.part[i] * b->old_factor[head] + sum.part[i] * b->new_factor[head];
    }
    rsr_store16(out, sum);
}

/* Computes 16 n_vectors output elements, from d on, of n_heads heads, from head `first` on. */
RSR_INLINE void add_values(const struct block *b, enum rsr_kv_type type, bool far, uint32_t first,
                           uint32_t n_heads, uint32_t d, uint32_t n_vectors, bool fetch) {
    const uint32_t row_floats = b->page->row_floats, n_keys = b->page->n_keys;
    const uint32_t element_bytes = rsr_kv_element_bytes(type);
    const size_t row_bytes = rsr_kv_row_bytes(type, row_floats);
    const char *v = b->page->values;
    const void *then = b->page->next_keys != NULL ? b->page->next_keys : v;
    struct rsr_f16 acc[CHUNK_HEADS][VALUE_VECTORS];
    for (uint32_t h = 0; h < n_heads; h++)
        for (uint32_t i = 0; i < n_vectors; i++)
            acc[h][i] = rsr_zero16();
    for (uint32_t j = 0; j < n_keys; j++, v += row_bytes) {
        const char *ahead = ahead_of(b, type, far, b->page->values, then, j);
        const float scale = rsr_row_scale(v, type, row_floats);
        for (uint32_t i = 0; i < n_vectors; i++) {
            const struct rsr_f16 value = rsr_load_row16(v, type, d + 16 * i, scale);
            if (fetch && 16 * i * element_bytes % 64 == 0)
                rsr_fetch_line(ahead + (size_t)(d + 16 * i) * element_bytes, far);
            for (uint32_t h = 0; h < n_heads; h++)
                acc[h][i] = rsr_add_scaled(acc[h][i], b->z[first + h][j], value);
        }
    }
    for (uint32_t h = 0; h < n_heads; h++)
        for (uint32_t i = 0; i < n_vectors; i++)
            merge16(b, first + h, d + 16 * i, acc[h][i]);
}

RSR_INLINE void page_slice(const struct block *b, enum rsr_kv_type type, bool far, uint32_t d,
                           uint32_t n_vectors) {
    for (uint32_t h = 0, n; h < b->n_heads; h += n) {
        n = chunk_of(b->n_heads - h);
        if (n > 1 && h == 0 && b->fetch)
            add_values(b, type, far, h, CHUNK_HEADS, d, n_vectors, true);
        else if (n > 1)
            add_values(b, type, far, h, CHUNK_HEADS, d, n_vectors, false);
        else if (h == 0 && b->fetch)
            add_values(b, type, far, h, 1, d, n_vectors, true);
        else
            add_values(b, type, far, h, 1, d, n_vectors, false);
    }
}

/* Adds n_rows rows of values to the sums of n_heads heads, whose weights are z. Each row prefetches
 * n_lines lines, from `ahead` on. */
RSR_INLINE void add_wide(float (*sums)[WIDE_FLOATS], const float *z, uint32_t n_heads,
                         const float *v, uint32_t n_rows, const char *ahead, uint32_t n_lines) {
    struct rsr_f16 acc[WIDE_HEADS][WIDE_VECTORS];
    for (uint32_t h = 0; h < n_heads; h++)
        for (uint32_t i = 0; i < WIDE_VECTORS; i++)
            acc[h][i] = rsr_load16(sums[h] + (size_t)16 * i);
    for (uint32_t j = 0; j < n_rows; j++, v += WIDE_FLOATS, ahead += (size_t)64 * n_lines) {
        struct rsr_f16 value[WIDE_VECTORS];
        for (uint32_t i = 0; i < WIDE_VECTORS; i++) {
            value[i] = rsr_load16(v + (size_t)16 * i);
            if (i < n_lines)
                rsr_fetch_line(ahead + (size_t)64 * i, true);
        }
        for (uint32_t h = 0; h < n_heads; h++)
            for (uint32_t i = 0; i < WIDE_VECTORS; i++)
                acc[h][i] = rsr_add_scaled(acc[h][i], z[h * RSR_PAGE_TOKENS + j], value[i]);
    }
    for (uint32_t h = 0; h < n_heads; h++)
        for (uint32_t i = 0; i < WIDE_VECTORS; i++)
            rsr_store16(sums[h] + (size_t)16 * i, acc[h][i]);
}

/* page_values() for float32 rows of WIDE_FLOATS elements. It reads them in the order of memory,
 * because a Zen 4 brings hardly any line when it is asked to prefetch to the second cache: the
 * request makes its own prefetcher look further ahead, along lines that are read one after another.
 * The first two walks over a block prefetch half of the lines each, so that prefetching never
 * pauses. */
static void wide_values(const struct block *b) {
    const size_t half_bytes = WIDE_ROWS * WIDE_FLOATS * sizeof(float) / 2;
    const float *v = b->page->values;
    const void *then = b->page->next_keys != NULL ? b->page->next_keys : v;
    const uint32_t n_keys = b->page->n_keys, n_heads = b->n_heads;
    float sums[BLOCK_HEADS][WIDE_FLOATS];
    memset(sums, 0, n_heads * sizeof(sums[0]));
    for (uint32_t j = 0; j < n_keys; j += WIDE_ROWS, v += WIDE_ROWS * WIDE_FLOATS) {
        const uint32_t n = n_keys - j < WIDE_ROWS ? n_keys - j : WIDE_ROWS;
        const char *ahead = ahead_of(b, RSR_KV_F32, true, b->page->values, then, j);
        for (uint32_t h = 0; h < n_heads; h += WIDE_HEADS, ahead += half_bytes) {
            const float *z = b->z[h] + j;
            const bool fetch = b->fetch && h < 2 * WIDE_HEADS;
            if (n_heads - h < WIDE_HEADS && fetch)
                add_wide(sums + h, z, 1, v, n, ahead, WIDE_VECTORS);
            else if (n_heads - h < WIDE_HEADS)
                add_wide(sums + h, z, 1, v, n, ahead, 0);
            else if (fetch)
                add_wide(sums + h, z, WIDE_HEADS, v, n, ahead, WIDE_VECTORS / 2);
            else
                add_wide(sums + h, z, WIDE_HEADS, v, n, ahead, 0);
        }
    }
    for (uint32_t h = 0; h < n_heads; h++)
        for (uint32_t d = 0; d < WIDE_FLOATS; d += 16)
            merge16(b, h, d, rsr_load16(sums[h] + d));
}

RSR_INLINE void page_values(const struct block *b, enum rsr_kv_type type, bool far) {
    const uint32_t row_floats = b->page->row_floats;
    uint32_t d = 0;
    for (; d + 16 * VALUE_VECTORS <= row_floats; d += 16 * VALUE_VECTORS)
        page_slice(b, type, far, d, VALUE_VECTORS);
    for (; d < row_floats; d += 16)
        page_slice(b, type, far, d, 1);
}

RSR_INLINE void attend_page(const struct rsr_attend_head *heads, uint32_t n_heads,
                            const struct rsr_attend_page *page, enum rsr_kv_type type, bool far,
                            float scale) {
    const bool wide = far && page->row_floats == WIDE_FLOATS;
    struct block b;
    b.page = page;
    for (uint32_t first = 0; first < n_heads; first += BLOCK_HEADS) {
        b.heads = heads + first;
        b.n_heads = n_heads - first < BLOCK_HEADS ? n_heads - first : BLOCK_HEADS;
        b.fetch = first == 0;
        if (wide)
            page_scores(&b, type, far, WIDE_FLOATS, scale);
        else
            page_scores(&b, type, far, page->row_floats, scale);
        weigh_page(&b, rsr_kv_row_bytes(type, page->row_floats), rows_ahead(type, far), far);
        if (wide)
            wide_values(&b);
        else
            page_values(&b, type, far);
    }
}

/* Only the widest vectors compute faster than memory delivers rows, and only with float32. */
#define DEFINE_ATTEND_PAGE(name, type)                                                             \
    void RSR_OPS(attend_page_##name)(const struct rsr_attend_head *heads, uint32_t n_heads,        \
                                     const struct rsr_attend_page *page, float scale) {            \
        if (RSR_NATIVE == 16 && type == RSR_KV_F32 && page->far)                                   \
            attend_page(heads, n_heads, page, type, true, scale);                                  \
        else                                                                                       \
            attend_page(heads, n_heads, page, type, false, scale);                                 \
    }
RSR_EACH_KV_TYPE(DEFINE_ATTEND_PAGE)

void RSR_OPS(attend_finish)(float *dst, const float *out, const struct rsr_attend_state *state,
                            uint32_t n) {
    for (uint32_t d = 0; d < n; d++)
        dst[d] = out[d] / state->sum;
}
