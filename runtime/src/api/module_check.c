/* module_check.c - the loader's checks of a module's tables: every number that the engine later
 * uses as an index or a size. The checks take microseconds and turn a bug of the compiler into a
 * sentence. */
#include "module_check.h"

#include <float.h>
#include <math.h>

#include "ops/ops.h"
#include "runtime.h"
#include "sketch/sketch.h"
#include "step_check.h"

/* RoPE computes positions in float32, which is exact up to 2^24. */
#define LIMIT_CONTEXT (1u << 24)
#define LIMIT_ROTATION 65536u
#define LIMIT_STREAMS 64u

rsr_status rsr_check_module_abi(const struct rsr_module *module, rsr_error *err) {
    if (module->abi_version != RSR_ABI_VERSION)
        return rsr_fail(err, RSR_ERR_ABI,
                        "the module's tables have version %u, its runtime reads %u; compile again",
                        module->abi_version, RSR_ABI_VERSION);
    if (module->size_bytes != sizeof(struct rsr_module) ||
        module->size_kernel_desc != sizeof(struct rsr_kernel_desc) ||
        module->size_step_op != sizeof(struct rsr_step_op) ||
        module->size_gpu_kernel != sizeof(struct rsr_gpu_kernel))
        return rsr_fail(err, RSR_ERR_ABI,
                        "the module's tables were laid out for another runtime; compile again");
    return RSR_OK;
}

/* State sizes: the products that state_memory.c multiplies fit 64 bits. */
#define LIMIT_DELTA_DIM 4096u
#define LIMIT_DELTA_HEADS 4096u
#define LIMIT_DELTA_LAYERS 65536u

static bool are_delta_sizes(const struct rsr_hyper *h) {
    return h->delta_key_heads != 0 && h->delta_key_dim != 0 && h->delta_value_dim != 0 &&
           h->delta_value_heads != 0 && h->delta_value_heads % h->delta_key_heads == 0 &&
           h->delta_value_heads <= LIMIT_DELTA_HEADS && h->delta_key_dim <= LIMIT_DELTA_DIM &&
           h->delta_value_dim <= LIMIT_DELTA_DIM && h->n_layers <= LIMIT_DELTA_LAYERS;
}

static rsr_status check_rotations(const struct rsr_module *module, rsr_error *err) {
    if (module->n_rotations != 0 && module->rotations == NULL)
        return BROKEN("the table of rotations is missing");
    for (uint32_t i = 0; i < module->n_rotations; i++) {
        const struct rsr_rotation *r = &module->rotations[i];
        if (r->block == 0 || (r->block & (r->block - 1)) != 0 || r->block > LIMIT_ROTATION ||
            r->cols == 0 || r->cols > LIMIT_SIZE || r->cols % r->block != 0)
            return BROKEN("rotation %u has %u elements in blocks of %u", i, r->cols, r->block);
    }
    return RSR_OK;
}

static rsr_status check_hyper(const struct rsr_module *module, rsr_error *err) {
    const struct rsr_hyper *h = &module->hyper;
    const uint32_t sizes[] = {h->hidden,   h->n_layers, h->n_heads, h->n_kv_heads,
                              h->head_dim, h->ffn,      h->vocab,   h->context};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        if (sizes[i] == 0 || sizes[i] > LIMIT_SIZE)
            return rsr_fail(err, RSR_ERR_ABI,
                            "the module holds no runnable model (one of its sizes is %u)",
                            sizes[i]);
    if (h->n_heads % h->n_kv_heads != 0 || h->head_dim % 2 != 0 || h->context > LIMIT_CONTEXT ||
        (uint64_t)h->n_heads * h->head_dim > LIMIT_SIZE)
        return BROKEN("%u heads of %u, %u KV heads and %u positions do not fit together",
                      h->n_heads, h->head_dim, h->n_kv_heads, h->context);
    if (h->rotary_dim == 0 || h->rotary_dim % 2 != 0 || h->rotary_dim > h->head_dim)
        return BROKEN("%u of %u elements of a head are rotated", h->rotary_dim, h->head_dim);
    if (h->delta_layers > h->n_layers || (h->delta_layers != 0 && !are_delta_sizes(h)))
        return BROKEN("the sizes of its %u recurrent layers do not fit together", h->delta_layers);
    if (h->activation >= RSR_ACTIVATION_COUNT)
        return BROKEN("activation %u is unknown", h->activation);
    if (h->pooling >= RSR_POOLING_COUNT)
        return BROKEN("pooling %u is unknown", h->pooling);
    if (!isfinite(h->attention_scale) || !isfinite(h->embedding_scale))
        return BROKEN("a scale of the model is not finite");
    if (module->ropes == NULL || module->n_ropes == 0 || module->model_name == NULL ||
        module->architecture == NULL || module->compiler_version == NULL)
        return BROKEN("a table of the model is missing");
    for (uint32_t i = 0; i < module->n_ropes; i++)
        if (module->ropes[i].inv_freq == NULL || !isfinite(module->ropes[i].scale))
            return BROKEN("rotary table %u is incomplete", i);
    return check_rotations(module, err);
}

/* Columns of a row's exceptions ascend, and the exceptions of all rows are those that the header
 * counts. */
static rsr_status check_packed(const struct rsr_matrix_data *m, const char *name, rsr_error *err) {
    if (m->cols > RSR_PACKED_MOST_COLS || (uintptr_t)m->data % 64 != 0)
        return BROKEN("the packed %s has rows of %u, or is not aligned", name, m->cols);
    const uint32_t n_exceptions = rsr_packed_exceptions(m->data);
    const uint32_t *ends = (const void *)((const char *)m->data + RSR_PACKED_HEADER_BYTES);
    const uint32_t *exceptions = ends + m->rows;
    uint32_t begin = 0;
    for (uint32_t row = 0; row < m->rows; begin = ends[row++]) {
        if (ends[row] < begin || ends[row] - begin > m->cols || ends[row] > n_exceptions)
            return BROKEN("row %u of the packed %s has exceptions %u to %u of %u", row, name, begin,
                          ends[row], n_exceptions);
        for (uint32_t i = begin; i < ends[row]; i++)
            if (rsr_packed_exception_col(exceptions[i]) >= m->cols ||
                (i > begin && rsr_packed_exception_col(exceptions[i]) <=
                                  rsr_packed_exception_col(exceptions[i - 1])))
                return BROKEN("row %u of the packed %s has an exception in column %u", row, name,
                              rsr_packed_exception_col(exceptions[i]));
    }
    return begin == n_exceptions
               ? RSR_OK
               : BROKEN("the packed %s has %u exceptions, not %u", name, begin, n_exceptions);
}

/* may_pack: of an embedding or a head. */
static rsr_status check_dense(const struct rsr_matrix_data *m, const char *name, uint32_t rows,
                              uint32_t cols, bool may_pack, rsr_error *err) {
    const bool is_packed = may_pack && m->dtype == RSR_DTYPE_BF16_PACKED;
    if (m->data == NULL || m->rows != rows || m->cols != cols || rows == 0 || cols == 0 ||
        rows > LIMIT_SIZE || cols > LIMIT_SIZE ||
        (m->dtype != RSR_DTYPE_F32 && m->dtype != RSR_DTYPE_BF16 && m->dtype != RSR_DTYPE_F16 &&
         !is_packed))
        return BROKEN("the %s is %u x %u of type %u", name, m->rows, m->cols, m->dtype);
    return is_packed ? check_packed(m, name, err) : RSR_OK;
}

static rsr_status check_head_sketch(const struct rsr_tensors *tensors, rsr_error *err) {
    const struct rsr_head_sketch *s = &tensors->head_sketch;
    const struct rsr_matrix_data *head = &tensors->head;
    if (head->data == NULL || head->cols > RSR_SKETCH_MAX_DIM || s->n_planes < 1 ||
        s->n_planes > RSR_SKETCH_MAX_PLANES || s->centre == NULL)
        return BROKEN("a sketch of %u planes does not fit the head", s->n_planes);
    const struct rsr_sketch_shape shape = rsr_sketch_flat_shape(head->cols, s->n_planes);
    if (s->block_bytes != shape.block_bytes || (uintptr_t)s->blocks % 64 != 0)
        return BROKEN(
            "the head's sketch has blocks of %llu bytes, not of %u, or they are not aligned",
            (unsigned long long)s->block_bytes, shape.block_bytes);
    for (uint32_t i = 0; i < head->cols; i++)
        if (!(fabsf(s->centre[i]) < RSR_SKETCH_LARGEST_CENTRE))
            return BROKEN("the centre of the head's sketch is too large at %u", i);
    return RSR_OK;
}

static rsr_status check_spreads(const struct rsr_hyper *hyper, const float *spreads,
                                rsr_error *err) {
    const uint32_t n = (hyper->n_layers - hyper->delta_layers) * hyper->n_kv_heads;
    for (uint32_t i = 0; spreads != NULL && i < n; i++)
        if (!(spreads[i] >= 0.0f && spreads[i] <= FLT_MAX))
            return BROKEN("the spread of logits number %u is %g", i, (double)spreads[i]);
    return RSR_OK;
}

/* Whether the tiles' entries follow each other and name rows of the kernel, as many as it has. */
static bool is_row_map(const struct rsr_kernel_desc *k) {
    const struct rsr_row_entry *entries = rsr_row_entries(k);
    bool fits = k->row_map[0] == 0 && k->row_map[k->n_tiles] == k->rows;
    for (uint32_t t = 0; fits && t < k->n_tiles; t++)
        fits = k->row_map[t] <= k->row_map[t + 1];
    for (uint32_t i = 0; fits && i < k->rows; i++)
        fits = entries[i].row < k->rows;
    return fits;
}

static rsr_status check_kernel(const struct rsr_kernel_desc *k, uint32_t index, rsr_error *err) {
    if (k->name == NULL || k->variant == NULL || k->reason == NULL || k->fn == NULL ||
        k->role >= RSR_ROLE_COUNT)
        return BROKEN("kernel %u is incomplete", index);
    if (k->rows == 0 || k->cols == 0 || k->rows > LIMIT_SIZE || k->cols > LIMIT_SIZE ||
        k->n_tiles == 0 || (uint64_t)k->n_tiles * k->tile_rows < k->rows)
        return BROKEN("kernel %s: %u tiles of %u rows for %u x %u", k->name, k->n_tiles,
                      k->tile_rows, k->rows, k->cols);
    if (k->n_streams == 0 || k->n_streams > LIMIT_STREAMS || k->stream_bytes > k->weight_bytes ||
        k->tile_bytes > k->weight_bytes / (k->n_tiles > 1 ? k->n_tiles - 1 : 1))
        return BROKEN("kernel %s: %u streams of codes, %llu bytes a tile", k->name, k->n_streams,
                      (unsigned long long)k->tile_bytes);
    if (k->row_map != NULL && !is_row_map(k))
        return BROKEN("kernel %s: its row map does not have %u rows", k->name, k->rows);
    if (k->epilogue != RSR_EPILOGUE_SCALE || k->weights.scale == NULL ||
        (k->weights.n_scales != 1 && k->weights.n_scales % k->rows != 0) ||
        k->input > RSR_INPUT_F32 || k->list > RSR_LIST_COLS ||
        (k->list != RSR_LIST_NONE && k->input != RSR_INPUT_I8))
        return BROKEN("kernel %s: %u scales for %u rows", k->name, k->weights.n_scales, k->rows);
    return RSR_OK;
}

/* Bytes of an input row that a kernel reads. */
static uint64_t input_row_bytes(const struct rsr_kernel_desc *k) {
    if (k->list != RSR_LIST_NONE)
        return rsr_list_layout(k->cols, k->list == RSR_LIST_ROWS ? k->rows : k->cols).row_bytes;
    const uint64_t act = rsr_act_row_bytes(k->cols);
    return k->input == RSR_INPUT_F32 ? 4 * (act - RSR_ACT_HEADER) : act;
}

static struct rsr_walked_kernel describe_kernel(const void *kernels, uint32_t i) {
    const struct rsr_kernel_desc *k = (const struct rsr_kernel_desc *)kernels + i;
    return (struct rsr_walked_kernel){k->rows, k->cols, input_row_bytes(k)};
}

static rsr_status check_norms(const struct rsr_tensors *tensors, rsr_error *err) {
    for (uint32_t i = 0; i < tensors->n_norms; i++) {
        const struct rsr_norm *norm = &tensors->norms[i];
        if (norm->name == NULL || norm->weight == NULL || norm->cols == 0 ||
            norm->cols > LIMIT_SIZE || !(norm->eps >= 0.0f))
            return BROKEN("norm %u is incomplete", i);
    }
    return RSR_OK;
}

static rsr_status check_deltas(const struct rsr_tensors *tensors, rsr_error *err) {
    for (uint32_t i = 0; i < tensors->n_deltas; i++) {
        const struct rsr_delta *delta = &tensors->deltas[i];
        if (delta->taps == NULL || delta->rate == NULL || delta->shift == NULL ||
            delta->norm == NULL || !(delta->norm_eps >= 0.0f))
            return BROKEN("recurrent layer %u is incomplete", i);
    }
    return RSR_OK;
}

rsr_status rsr_check_tensors(const struct rsr_module *module, const struct rsr_tensors *tensors,
                             rsr_error *err) {
    const struct rsr_hyper *hyper = &module->hyper;
    if (tensors == NULL || (tensors->n_norms != 0 && tensors->norms == NULL) ||
        (tensors->n_dense != 0 && tensors->dense == NULL) ||
        (tensors->n_deltas != 0 && tensors->deltas == NULL))
        return BROKEN("a table is missing that has entries");
    rsr_status status =
        check_dense(&tensors->embedding, "embedding", hyper->vocab, hyper->hidden, true, err);
    if (status == RSR_OK && tensors->head.data != NULL)
        status = check_dense(&tensors->head, "head", hyper->vocab, hyper->hidden, true, err);
    if (status == RSR_OK && tensors->head_sketch.blocks != NULL)
        status = check_head_sketch(tensors, err);
    for (uint32_t i = 0; status == RSR_OK && i < tensors->n_dense; i++)
        status = check_dense(&tensors->dense[i], "dense layer", tensors->dense[i].rows,
                             tensors->dense[i].cols, false, err);
    if (status == RSR_OK)
        status = check_spreads(hyper, tensors->logit_spreads, err);
    if (status == RSR_OK)
        status = check_norms(tensors, err);
    return status == RSR_OK ? check_deltas(tensors, err) : status;
}

rsr_status rsr_check_model(const struct rsr_module *module, rsr_error *err) {
    const rsr_status status = check_hyper(module, err);
    if (status == RSR_OK && module->n_stop_tokens != 0 && module->stop_tokens == NULL)
        return BROKEN("a table is missing that has entries");
    return status;
}

rsr_status rsr_check_target(const struct rsr_module *module, const struct rsr_target *target,
                            rsr_error *err) {
    rsr_status status = rsr_check_tensors(module, target->tensors, err);
    if (status == RSR_OK && target->n_kernels != 0 && target->kernels == NULL)
        status = BROKEN("a table is missing that has entries");
    for (uint32_t i = 0; status == RSR_OK && i < target->n_kernels; i++)
        status = check_kernel(&target->kernels[i], i, err);
    const struct rsr_walked walked = {.name = target->name,
                                      .tensors = target->tensors,
                                      .steps = target->steps,
                                      .n_steps = target->n_steps,
                                      .n_kernels = target->n_kernels,
                                      .kernels = target->kernels,
                                      .kernel = describe_kernel};
    return status == RSR_OK ? rsr_check_steps(module, &walked, err) : status;
}
