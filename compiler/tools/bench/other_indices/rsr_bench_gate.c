/* rsr_bench_gate.c - shared by gates: exact scores of keys that pass a gate, and attention over
 * keys that reach the threshold. Also the gate of pages, which uses the KV index's bounds of 64
 * keys. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "host/cpu.h"
#include "rsr_bench_attention.h"
#include "rsr_bench_gate.h"
#include "sketch/sketch.h"
#include "sketch/sketch_round.h"

#define MAX_FLOATS ATTENTION_MAX_DIM

/* ---- Making ---- */

static void *reserve(size_t bytes) {
    return aligned_alloc(64, (bytes + 63u) & ~(size_t)63u);
}

static double largest_norm(const struct bench_gate *gate) {
    double largest = 0.0;
    for (uint32_t i = 0; i < gate->n_keys; i++) {
        const float *key = gate->keys + (size_t)i * gate->row_floats;
        double squares = 0.0;
        for (uint32_t d = 0; d < gate->head_dim; d++)
            squares += (double)key[d] * (double)key[d];
        largest = fmax(largest, squares);
    }
    return rsr_sum_up(sqrt(largest));
}

bool bench_gate_make(struct bench_gate *gate, const struct bench_gate_kind *kind, const float *keys,
                     const float *values, uint32_t n_keys, uint32_t head_dim, uint32_t row_floats) {
    *gate = (struct bench_gate){.kind = kind,
                                .keys = keys,
                                .values = values,
                                .n_keys = n_keys,
                                .head_dim = head_dim,
                                .row_floats = row_floats};
    gate->largest_key = largest_norm(gate);
    gate->bytes = kind->bytes(gate);
    gate->memory = reserve(gate->bytes);
    return gate->memory != NULL && kind->build(gate);
}

bool bench_gate_copy(struct bench_gate *gate, const struct bench_gate *from, const float *keys,
                     const float *values) {
    *gate = *from;
    gate->keys = keys;
    gate->values = values;
    gate->memory = reserve(gate->bytes);
    if (gate->memory != NULL)
        memcpy(gate->memory, from->memory, gate->bytes);
    return gate->memory != NULL;
}

void bench_gate_free(struct bench_gate *gate) {
    free(gate->memory);
    gate->memory = NULL;
}

/* ---- Exact products ---- */

typedef float lanes __attribute__((vector_size(64), aligned(4), may_alias));

/* scores[j] = q . k of the keys in the mask. */
BENCH_GATE_BODY void score_body(const float *q, const float *keys, uint32_t row_floats,
                                uint64_t mask, float *scores) {
    for (uint64_t left = mask; left != 0; left &= left - 1) {
        const size_t j = (size_t)__builtin_ctzll(left);
        const float *key = keys + j * row_floats;
        lanes sums = {0.0f};
        for (size_t d = 0; d < row_floats; d += 16)
            sums += *(const lanes *)(q + d) * *(const lanes *)(key + d);
        float total = 0.0f;
        for (size_t i = 0; i < 16; i++)
            total += sums[i];
        scores[j] = total;
    }
}

BENCH_GATE_VARIANTS(score_keys, score_body,
                    (const float *q, const float *keys, uint32_t row_floats, uint64_t mask,
                     float *scores),
                    (q, keys, row_floats, mask, scores))

/* A bound on the error of such a score: row_floats / 16 products and additions, and 16 additions of
 * lanes, each within 2^-24 of sums that are at most |q| |k|; and underflow. */
static double score_error(const struct bench_gate *gate, const float *q) {
    double squares = 0.0;
    for (uint32_t d = 0; d < gate->head_dim; d++)
        squares += (double)q[d] * (double)q[d];
    const double roundings = (gate->row_floats / 8 + 20) * 0x1p-24;
    return rsr_sum_up(roundings * rsr_sum_up(sqrt(squares)) * gate->largest_key + 0x1p-120);
}

/* ---- Attention over what is left ---- */

/* The running softmax: the values of attended keys, weighted by exp(score - largest). */
struct softmax {
    float largest, sum;
    float *out; /* [row_floats] */
};

static void add_key(struct softmax *s, float x, const float *value, uint32_t row_floats) {
    if (x > s->largest) {
        const float factor = expf(s->largest - x);
        s->largest = x;
        s->sum *= factor;
        for (uint32_t d = 0; d < row_floats; d++)
            s->out[d] *= factor;
    }
    const float p = expf(x - s->largest);
    s->sum += p;
    for (uint32_t d = 0; d < row_floats; d++)
        s->out[d] += p * value[d];
}

/* Removes keys below the threshold from the mask, and attends to the others. */
static uint64_t attend_page(const struct bench_gate *gate, const struct bench_gate_query *query,
                            uint32_t head, double floor, uint32_t page, uint64_t mask,
                            struct softmax *softmax) {
    const size_t row = (size_t)page * BENCH_GATE_PAGE * gate->row_floats;
    float scores[BENCH_GATE_PAGE];
    score_keys(query->q + (size_t)head * gate->row_floats, gate->keys + row, gate->row_floats, mask,
               scores);
    for (uint64_t left = mask; left != 0; left &= left - 1) {
        const uint32_t j = (uint32_t)__builtin_ctzll(left);
        if ((double)scores[j] < floor)
            mask &= ~(UINT64_C(1) << j);
        else
            add_key(softmax, scores[j] * query->scale,
                    gate->values + row + (size_t)j * gate->row_floats, gate->row_floats);
    }
    return mask;
}

static uint32_t count_keys(uint64_t mask) {
    return (uint32_t)__builtin_popcountll(mask);
}

bool bench_gate_attend(const struct bench_gate *gate, const struct bench_gate_query *query,
                       uint64_t *masks, float *out, struct bench_gate_counts *counts) {
    const uint32_t n_pages = bench_gate_pages_of(gate);
    const double row_bytes = (double)gate->row_floats * sizeof(float);
    struct softmax softmax[ATTENTION_MAX_GROUP];
    double floors[ATTENTION_MAX_GROUP];
    if (!gate->kind->pick(gate, query, masks, counts))
        return false;
    memset(out, 0, (size_t)query->n_heads * gate->row_floats * sizeof(float));
    for (uint32_t h = 0; h < query->n_heads; h++) {
        const float *q = query->q + (size_t)h * gate->row_floats;
        floors[h] = rsr_round_down(query->thresholds[h] - score_error(gate, q));
        softmax[h] = (struct softmax){-INFINITY, 0.0f, out + (size_t)h * gate->row_floats};
    }
    for (uint32_t p = 0; p < n_pages; p++) {
        uint64_t read = 0, attended = 0;
        for (uint32_t h = 0; h < query->n_heads; h++) {
            uint64_t *mask = &masks[(size_t)h * n_pages + p];
            read |= *mask;
            if (*mask != 0)
                *mask = attend_page(gate, query, h, floors[h], p, *mask, &softmax[h]);
            attended |= *mask;
        }
        counts->exact += count_keys(read);
        counts->bytes += (count_keys(read) + count_keys(attended)) * row_bytes;
        counts->pages_skipped += read == 0;
    }
    for (uint32_t h = 0; h < query->n_heads; h++)
        for (uint32_t d = 0; softmax[h].sum > 0.0f && d < gate->row_floats; d++)
            softmax[h].out[d] /= softmax[h].sum;
    return true;
}

/* ---- Pages: the parts of a sketch's block before its codes ---- */

static struct rsr_sketch_shape shape_of(const struct bench_gate *gate) {
    return rsr_sketch_shape_of(gate->head_dim, 1);
}

static size_t page_bytes(const struct rsr_sketch_shape *shape) {
    return (shape->scales_at + 63u) & ~(size_t)63u;
}

static size_t pages_bytes(const struct bench_gate *gate) {
    const struct rsr_sketch_shape shape = shape_of(gate);
    return page_bytes(&shape) * (gate->n_keys / BENCH_GATE_PAGE + 1);
}

static bool build_pages(struct bench_gate *gate) {
    const struct rsr_sketch_shape shape = shape_of(gate);
    const struct rsr_sketch_kernel *kernel = rsr_sketch_kernel_for(rsr_cpu_features());
    void *block = reserve(shape.block_bytes);
    for (uint32_t p = 0; block != NULL && p < gate->n_keys / BENCH_GATE_PAGE; p++) {
        const size_t row = (size_t)p * BENCH_GATE_PAGE * gate->row_floats;
        kernel->build(&shape, block, gate->keys + row, gate->row_floats, NULL, NULL);
        memcpy((char *)gate->memory + p * page_bytes(&shape), block, shape.scales_at);
    }
    free(block);
    return block != NULL;
}

static bool pick_pages(const struct bench_gate *gate, const struct bench_gate_query *query,
                       uint64_t *masks, struct bench_gate_counts *counts) {
    const struct rsr_sketch_shape shape = shape_of(gate);
    const struct rsr_sketch_kernel *kernel = rsr_sketch_kernel_for(rsr_cpu_features());
    const size_t query_bytes = (rsr_sketch_query_bytes(&shape) + 63u) & ~(size_t)63u;
    const uint32_t n_pages = bench_gate_pages_of(gate), n_sealed = gate->n_keys / BENCH_GATE_PAGE;
    struct rsr_sketch_query prepared[ATTENTION_MAX_GROUP];
    const struct rsr_sketch_query *queries[ATTENTION_MAX_GROUP];
    struct rsr_sketch_frame frames[ATTENTION_MAX_GROUP];
    char *memory = reserve(query_bytes * query->n_heads);
    if (memory == NULL)
        return false;
    for (uint32_t h = 0; h < query->n_heads; h++) {
        rsr_sketch_prepare(&shape, query->q + (size_t)h * gate->row_floats,
                           memory + h * query_bytes, &prepared[h]);
        queries[h] = &prepared[h];
    }
    for (uint32_t p = 0; p < n_pages; p++) {
        if (p < n_sealed)
            kernel->frames(&shape, (const char *)gate->memory + p * page_bytes(&shape), queries,
                           query->n_heads, frames);
        for (uint32_t h = 0; h < query->n_heads; h++) {
            const bool skip = p < n_sealed && frames[h].bound < query->thresholds[h];
            masks[(size_t)h * n_pages + p] = skip ? 0 : bench_gate_all(gate, p);
        }
    }
    counts->bytes += (double)shape.scales_at * n_sealed;
    free(memory);
    return true;
}

const struct bench_gate_kind bench_gate_pages = {
    .name = "pages", .bytes = pages_bytes, .build = build_pages, .pick = pick_pages};
