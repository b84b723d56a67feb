/* cuda_sketch.c - the largest logit of a head with a sketch: the device bounds all logits by the
 * sketch's first plane, reads the row with the largest bound, and then only the rows whose bounds
 * reach its logit. The theorems of sketch/sketch.h and walk/head_sketch.c hold here, too: each term
 * of a bound meets the roundings of the host's scan, in its order.
 *
 * The host prepares the query, in double precision, so that the head waits for the step before it.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cuda_engine.h"

uint64_t rsr_cuda_query_bytes(const struct rsr_sketch_shape *shape) {
    return sizeof(struct rsr_gpu_query) + (shape->n_slices + 1u) / 2 * 2 * sizeof(double) +
           shape->n_slices * sizeof(struct rsr_gpu_slice);
}

/* Multiples of 16 bytes. */
static uint64_t state_bytes(const struct rsr_sketch_shape *shape) {
    return shape->n_slices * RSR_SKETCH_SLICE * sizeof(float);
}

rsr_status rsr_cuda_set_sketch(struct rsr_cuda_engine *e, rsr_error *err) {
    const struct rsr_tensors *tensors = e->gpu->tensors;
    struct rsr_cuda_sketch *sketch = &e->sketch;
    if (tensors->head_sketch.blocks == NULL || e->engine->model->module->hollow_seed != 0)
        return RSR_OK;
    sketch->shape = rsr_sketch_flat_shape(tensors->head.cols, tensors->head_sketch.n_planes);
    sketch->n_blocks = rsr_sketch_blocks_of(tensors->head.rows);
    sketch->slot_bytes = rsr_cuda_query_bytes(&sketch->shape) + state_bytes(&sketch->shape);
    sketch->memory = aligned_alloc(64, (rsr_sketch_query_bytes(&sketch->shape) + 63) / 64 * 64);
    return sketch->memory != NULL ? RSR_OK
                                  : rsr_fail(err, RSR_ERR_MEMORY, "no memory for a head's query");
}

/* ---- Queries ---- */

static rsr_cuda_address query_at(const struct rsr_cuda_engine *e, uint32_t slot) {
    return e->chunk.queries + slot * e->sketch.slot_bytes;
}

/* Where the host gets the row of the head's input, after the query. */
static float *state_of(const struct rsr_cuda_engine *e, uint32_t slot) {
    return rsr_cuda_host_of(e, query_at(e, slot) + rsr_cuda_query_bytes(&e->sketch.shape));
}

static bool can_bound(const struct rsr_cuda_engine *e, const float *x) {
    bool finite = rsr_sketch_float_mode();
    for (uint32_t i = 0; i < e->sketch.shape.dim; i++)
        finite = finite && isfinite(x[i]);
    return finite;
}

void rsr_cuda_write_query(const struct rsr_sketch_shape *shape,
                          const struct rsr_sketch_query *query, struct rsr_gpu_query *to) {
    memset(to, 0, rsr_cuda_query_bytes(shape));
    *to = (struct rsr_gpu_query){.centre = query->centre,
                                 .centre_error = query->centre_error,
                                 .norm = query->norm,
                                 .residual_slack = query->residual_slack,
                                 .exponent = query->exponent};
    double *slack = (double *)(void *)(to + 1);
    struct rsr_gpu_slice *slices =
        (struct rsr_gpu_slice *)(void *)(slack + (shape->n_slices + 1u) / 2 * 2);
    memcpy(slack, query->slack, shape->n_slices * sizeof(*slack));
    for (uint32_t s = 0; s < shape->n_slices; s++) {
        memcpy(slices[s].codes, query->codes + s * RSR_SKETCH_SLICE, RSR_SKETCH_SLICE);
        slices[s].scale = query->scale[0][s];
        slices[s].norm = query->norms[s];
        slices[s].centre = -query->sums[s];
    }
}

/* Prepares the query of a slot. */
static void prepare(struct rsr_cuda_engine *e, uint32_t slot) {
    const struct rsr_sketch_shape *shape = &e->sketch.shape;
    const float *x = state_of(e, slot);
    struct rsr_gpu_query *to = rsr_cuda_host_of(e, query_at(e, slot));
    if (can_bound(e, x)) {
        struct rsr_sketch_query query;
        rsr_sketch_prepare_flat(shape, x, e->gpu->tensors->head_sketch.centre, e->sketch.memory,
                                &query);
        rsr_cuda_write_query(shape, &query, to);
    } else {
        memset(to, 0, rsr_cuda_query_bytes(shape));
        to->norm = INFINITY;
    }
}

/* ---- Launches ---- */

static rsr_status bound(struct rsr_cuda_engine *e, uint32_t slot, rsr_error *err) {
    const struct rsr_sketch_shape *shape = &e->sketch.shape;
    const struct rsr_matrix_data *head = &e->gpu->tensors->head;
    rsr_cuda_address blocks = e->sketch.blocks, query = query_at(e, slot),
                     bounds = e->sketch.bounds, found = e->found;
    uint64_t block_bytes = shape->block_bytes;
    uint32_t norms_at = shape->norms_at, scales_at = shape->scales_at,
             residuals_at = shape->residual_at[0], codes_at = shape->plane_at[0],
             n_slices = shape->n_slices, rows = head->rows, cols = head->cols;
    void *parameters[] = {&blocks,   &block_bytes, &norms_at, &scales_at, &residuals_at, &codes_at,
                          &n_slices, &rows,        &cols,     &query,     &bounds,       &found};
    return rsr_cuda_operation(e, RSR_GPU_CALL_BOUND, e->sketch.n_blocks, parameters, err);
}

/* x: the row of the head's input. */
static rsr_status choose(struct rsr_cuda_engine *e, rsr_cuda_address x, rsr_cuda_address first,
                         rsr_error *err) {
    const struct rsr_matrix_data *head = &e->gpu->tensors->head;
    rsr_cuda_address matrix = e->head, found = e->found, bounds = e->sketch.bounds,
                     least = e->sketch.least;
    uint32_t n = e->sketch.n_blocks, dtype = head->dtype, rows = head->rows, cols = head->cols;
    void *certify[] = {&found, &n, &x, &matrix, &dtype, &cols, &least};
    void *survive[] = {&bounds, &least, &x, &matrix, &dtype, &rows, &cols, &found};
    void *all[] = {&found, &n, &first};
    rsr_status status = rsr_cuda_operation(e, RSR_GPU_CALL_CERTIFY, 1, certify, err);
    if (status == RSR_OK)
        status = rsr_cuda_operation(e, RSR_GPU_CALL_SURVIVE, n, survive, err);
    return status == RSR_OK ? rsr_cuda_operation(e, RSR_GPU_CALL_FIRST, 1, all, err) : status;
}

/* The picks of n slots, from `first` on. */
static rsr_status pick_some(struct rsr_cuda_engine *e, const struct rsr_cuda_rows *rows,
                            const uint32_t *tokens, uint32_t n, rsr_cuda_address firsts,
                            rsr_error *err) {
    rsr_status status = RSR_OK;
    for (uint32_t i = 0; i < n && status == RSR_OK; i++)
        status =
            rsr_cuda_download(&e->device, state_of(e, i), rows->at + tokens[i] * rows->row_bytes,
                              e->sketch.shape.dim * sizeof(float), err);
    if (status == RSR_OK)
        status = rsr_cuda_deliver(e, err);
    for (uint32_t i = 0; i < n && status == RSR_OK; i++) {
        prepare(e, i);
        status = rsr_cuda_send(e, query_at(e, i), rsr_cuda_query_bytes(&e->sketch.shape), err);
        if (status == RSR_OK)
            status = bound(e, i, err);
        if (status == RSR_OK)
            status = choose(e, rows->at + tokens[i] * rows->row_bytes,
                            firsts + i * sizeof(struct rsr_gpu_candidate), err);
    }
    return status;
}

rsr_status rsr_cuda_pick_by_sketch(struct rsr_cuda_engine *e, uint16_t buffer,
                                   const uint32_t *tokens, uint32_t n, rsr_cuda_address firsts,
                                   rsr_error *err) {
    const struct rsr_cuda_rows rows = rsr_cuda_buffer(e, buffer);
    rsr_status status = RSR_OK;
    for (uint32_t i = 0, some; i < n && status == RSR_OK; i += some) {
        some = n - i < RSR_CUDA_QUERIES ? n - i : RSR_CUDA_QUERIES;
        status = pick_some(e, &rows, tokens + i, some,
                           firsts + i * sizeof(struct rsr_gpu_candidate), err);
    }
    return status;
}
