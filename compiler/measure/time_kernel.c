/* time_kernel.c - times calls of one kernel. */
#include "measure/time_kernel.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/round.h"
#include "measure/measure.h"

/* A sample is long compared with the clock's resolution, and short compared with interruptions by
 * other work of the machine. */
#define SAMPLE_NS 2000000u
#define WANTED_NS 100000000u
#define MOST_NS 1000000000u
#define MIN_SAMPLES 3u
#define MAX_SAMPLES 100u
#define PAGE_BYTES 4096u

struct bench {
    const struct rsrc_time_input *input;
    uint8_t *x, *y, *scratch;
    size_t ldx;
    uint64_t stride, copies, next;
};

/* Random activations: no kernel's time depends on them. */
static void fill_rows(struct bench *b) {
    const struct rsr_kernel *kernel = &b->input->lowered->kernel;
    uint64_t state = 1;
    for (uint32_t t = 0; t < b->input->n_tokens; t++) {
        uint8_t *row = b->x + t * b->ldx;
        struct rsr_act_row header = {.scale = 1.0f};
        for (uint32_t j = 0; j < kernel->cols; j++) {
            const int8_t q = (int8_t)((int)(rsrc_random(&state) >> 56) - 128);
            const float real = q;
            header.sum += q;
            if (kernel->input == RSR_INPUT_F32)
                memcpy(row + j * sizeof(real), &real, sizeof(real));
            else
                memcpy(row + RSR_ACT_HEADER + j, &q, 1);
        }
        if (kernel->input == RSR_INPUT_I8)
            memcpy(row, &header, sizeof(header));
    }
}

static void copy_weights(struct bench *b) {
    const struct rsr_lowered *lowered = b->input->lowered;
    const struct rsr_blob *blobs[] = {&lowered->codes, &lowered->index};
    for (uint64_t i = 0; i < b->copies; i++) {
        uint8_t *copy = b->input->stream + i * b->stride;
        for (size_t k = 0; k < sizeof(blobs) / sizeof(blobs[0]); k++) {
            if (blobs[k]->size_bytes != 0)
                memcpy(copy, blobs[k]->bytes, blobs[k]->size_bytes);
            copy += blobs[k]->size_bytes;
        }
    }
}

/* Evicts everything from the caches. */
static void evict(const struct bench *b) {
    uint64_t sum = 0;
    for (uint64_t i = 0; i < b->input->stream_bytes; i += 64)
        sum += b->input->stream[i];
    __asm__ volatile("" : : "r"(sum));
}

static void call(struct bench *b) {
    const struct rsrc_time_input *input = b->input;
    const struct rsr_lowered *lowered = input->lowered;
    const uint8_t *copy = input->stream + b->next * b->stride;
    const struct rsr_weights weights = {.codes = copy,
                                        .index = copy + lowered->codes.size_bytes,
                                        .scale = lowered->scale.bytes,
                                        .n_scales = input->n_scales};
    const struct rsr_worker worker = {.tile_end = lowered->kernel.n_tiles, .count = 1};
    input->run(b->x, b->ldx, b->y, lowered->kernel.rows, input->n_tokens, &weights, &worker,
               b->scratch);
    b->next = (b->next + 1) % b->copies;
}

static double time_calls(struct bench *b, uint32_t n_calls) {
    const uint64_t start = rsrc_now_ns();
    for (uint32_t i = 0; i < n_calls; i++)
        call(b);
    return (double)(rsrc_now_ns() - start) / n_calls;
}

static double least_call_ns(struct bench *b) {
    const bool is_code = b->input->lowered->kernel.n_bodies != 0;
    const uint64_t wanted_ns = is_code ? MOST_NS : WANTED_NS;
    call(b); /* pages of outputs and scratch, and the code */
    const double first_ns = time_calls(b, 1);
    const uint32_t n_calls =
        is_code || first_ns >= SAMPLE_NS ? 1 : (uint32_t)(SAMPLE_NS / (first_ns + 1)) + 1;
    const uint64_t start = rsrc_now_ns();
    double least_ns = first_ns;
    for (uint32_t n = 0; n < MAX_SAMPLES && (n < MIN_SAMPLES || rsrc_now_ns() - start < wanted_ns);
         n++) {
        if (is_code)
            evict(b);
        const double ns = time_calls(b, n_calls);
        if (n == 0 || ns < least_ns)
            least_ns = ns;
    }
    return least_ns;
}

bool rsrc_time_kernel(const struct rsrc_time_input *input, double *us) {
    const struct rsr_lowered *lowered = input->lowered;
    const struct rsr_kernel *kernel = &lowered->kernel;
    const uint64_t weight_bytes = lowered->codes.size_bytes + lowered->index.size_bytes;
    struct bench b = {.input = input};
    b.stride = rsrc_round_up(weight_bytes != 0 ? weight_bytes : 1, PAGE_BYTES);
    b.copies = input->stream_bytes / b.stride;
    if (b.copies < 2)
        return false;
    struct rsrc_arena arena;
    rsrc_arena_init(&arena);
    const size_t padded = rsrc_round_up(kernel->cols, RSR_ACT_PAD);
    b.ldx = kernel->input == RSR_INPUT_F32 ? padded * sizeof(float) : RSR_ACT_HEADER + padded;
    b.x = rsrc_arena_alloc(&arena, b.ldx * input->n_tokens);
    b.y = rsrc_arena_alloc(&arena, (size_t)kernel->rows * input->n_tokens * sizeof(float));
    b.scratch = rsrc_arena_alloc(&arena, rsrc_round_up(kernel->scratch_bytes, PAGE_BYTES) + 64);
    fill_rows(&b);
    copy_weights(&b);
    *us = least_call_ns(&b) / 1e3;
    rsrc_arena_free(&arena);
    return true;
}
