/* louver.c - the index as an object: creates, extends, truncates and forks it. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "host/cpu.h"
#include "louver.h"
#include "runtime.h"

/* ---- Pages ---- */

/* Copies the first n_keys rows of a page to a new page; NULL: no memory. */
static struct louver_block *copy_block(rsr_louver *index, const struct louver_block *from,
                                       uint32_t n_keys) {
    struct louver_block *block = louver_take_block(index);
    if (block != NULL)
        rsr_kv_rows_copy(&index->setup.kv, block->rows, from->rows, n_keys);
    return block;
}

/* ---- Creating and ending ---- */

static rsr_status refuse_null(rsr_error *err, const char *what) {
    return rsr_fail(err, RSR_ERR_ARGUMENT, "the %s is NULL", what);
}

static rsr_status refuse_memory(rsr_error *err, const char *what) {
    return rsr_fail(err, RSR_ERR_MEMORY, "no memory for %s", what);
}

rsr_status rsr_louver_create(const rsr_louver_options *options, rsr_louver **index,
                             rsr_error *err) {
    rsr_louver_options known = RSR_LOUVER_OPTIONS_INIT;
    if (options == NULL || index == NULL)
        return refuse_null(err, options == NULL ? "options" : "result pointer");
    rsr_status status = rsr_read_options(&known, sizeof(known), options, err);
    if (status != RSR_OK)
        return status;
    if (known.head_dim < 1 || known.head_dim > LOUVER_MAX_DIM)
        return rsr_fail(err, RSR_ERR_ARGUMENT, "head_dim is %u; it must be 1 to %u", known.head_dim,
                        LOUVER_MAX_DIM);
    if (known.n_planes < 1 || known.n_planes > RSR_SKETCH_MAX_PLANES)
        return rsr_fail(err, RSR_ERR_ARGUMENT, "n_planes is %u; it must be 1 or 2", known.n_planes);
    if (!(known.scale >= 0.0f) || isinf(known.scale))
        return rsr_fail(err, RSR_ERR_ARGUMENT, "scale is %g; it must be a positive number, or 0",
                        (double)known.scale);
    enum rsr_kv_type type = RSR_KV_F32;
    status = rsr_kv_type_parse(known.kv_type, &type, err);
    if (status != RSR_OK)
        return status;
    rsr_louver *made = calloc(1, sizeof(*made));
    if (made == NULL)
        return refuse_memory(err, "an index");
    const uint64_t features = rsr_cpu_features();
    made->setup = louver_setup_of(type, known.head_dim, known.n_planes, known.scale,
                                  rsr_ops_best(features), features);
    *index = made;
    return RSR_OK;
}

void rsr_louver_destroy(rsr_louver *index) {
    if (index == NULL)
        return;
    for (uint32_t i = 0; i < index->n_blocks; i++)
        louver_release_block(index->blocks[i]);
    louver_release_shelf(index->shelf);
    free(index->blocks);
    free(index->scratch);
    free(index);
}

/* ---- Growing ---- */

static rsr_status reserve_blocks(rsr_louver *index, uint32_t n_blocks, rsr_error *err) {
    if (n_blocks > index->capacity_blocks) {
        const uint32_t doubled = index->capacity_blocks * 2,
                       capacity = n_blocks > doubled ? n_blocks : doubled;
        struct louver_block **blocks =
            realloc(index->blocks, capacity * sizeof(struct louver_block *));
        if (blocks == NULL)
            return refuse_memory(err, "the list of pages");
        index->blocks = blocks;
        index->capacity_blocks = capacity;
    }
    const uint32_t before = index->n_blocks;
    for (uint32_t i = before; i < n_blocks; i++) {
        index->blocks[i] = louver_take_block(index);
        if (index->blocks[i] == NULL) {
            while (i > before)
                louver_release_block(index->blocks[--i]);
            return refuse_memory(err, "a page of keys");
        }
    }
    if (n_blocks > before)
        index->n_blocks = n_blocks;
    return RSR_OK;
}

rsr_status louver_check_finite(const float *rows, size_t n, uint32_t head_dim, const char *what,
                               rsr_error *err) {
    for (size_t i = 0; i < n * head_dim; i++)
        if (!isfinite(rows[i]))
            return rsr_fail(err, RSR_ERR_NUMERIC, "%s %zu is not finite in dimension %zu", what,
                            i / head_dim, i % head_dim);
    return RSR_OK;
}

rsr_status louver_check_float_mode(rsr_error *err) {
    if (rsr_sketch_float_mode())
        return RSR_OK;
    return rsr_fail(
        err, RSR_ERR_NUMERIC,
        "this thread flushes denormals or does not round to nearest; bounds would not hold");
}

rsr_status rsr_louver_append(rsr_louver *index, const float *keys, const float *values,
                             size_t n_keys, rsr_error *err) {
    if (index == NULL || (n_keys > 0 && (keys == NULL || values == NULL)))
        return refuse_null(err, index == NULL ? "index" : keys == NULL ? "keys" : "values");
    if (n_keys > (size_t)INT32_MAX - index->n_keys)
        return rsr_fail(err, RSR_ERR_FULL, "an index holds at most %d keys", INT32_MAX);
    rsr_status status =
        rsr_check_stack(&index->stack, LOUVER_STACK_BYTES, "rsr_louver_append", err);
    if (status == RSR_OK)
        status = louver_check_float_mode(err);
    if (status == RSR_OK)
        status = louver_check_finite(keys, n_keys, index->setup.head_dim, "key", err);
    if (status == RSR_OK)
        status = louver_check_finite(values, n_keys, index->setup.head_dim, "value", err);
    const uint32_t n_after = index->n_keys + (uint32_t)n_keys;
    if (status == RSR_OK)
        status = reserve_blocks(index, (n_after + RSR_PAGE_TOKENS - 1) / RSR_PAGE_TOKENS, err);
    if (status != RSR_OK)
        return status;
    for (size_t i = 0; i < n_keys; i++) {
        struct louver_block *block = index->blocks[index->n_keys / RSR_PAGE_TOKENS];
        rsr_kv_rows_store(&index->setup.kv, block->rows, index->n_keys % RSR_PAGE_TOKENS,
                          keys + i * index->setup.head_dim, values + i * index->setup.head_dim);
        if (++index->n_keys % RSR_PAGE_TOKENS == 0)
            louver_seal(&index->setup, block->sidecar, &block->rows);
    }
    return RSR_OK;
}

/* ---- Cutting and forking ---- */

rsr_status rsr_louver_truncate(rsr_louver *index, uint32_t length, rsr_error *err) {
    if (index == NULL)
        return refuse_null(err, "index");
    if (length > index->n_keys)
        return rsr_fail(err, RSR_ERR_ARGUMENT, "the index has %u keys; it cannot be cut to %u",
                        index->n_keys, length);
    const uint32_t open_keys = length % RSR_PAGE_TOKENS, last = length / RSR_PAGE_TOKENS;
    /* The open page must not be shared, so it is copied if it was. */
    if (open_keys != 0 &&
        atomic_load_explicit(&index->blocks[last]->references, memory_order_acquire) > 1) {
        struct louver_block *own = copy_block(index, index->blocks[last], open_keys);
        if (own == NULL)
            return refuse_memory(err, "a page of keys");
        louver_release_block(index->blocks[last]);
        index->blocks[last] = own;
    }
    const uint32_t n_blocks = last + (open_keys != 0);
    while (index->n_blocks > n_blocks)
        louver_release_block(index->blocks[--index->n_blocks]);
    index->n_keys = length;
    return RSR_OK;
}

rsr_status rsr_louver_fork(const rsr_louver *index, rsr_louver **fork, rsr_error *err) {
    if (index == NULL || fork == NULL)
        return refuse_null(err, index == NULL ? "index" : "result pointer");
    const uint32_t n_sealed = index->n_keys / RSR_PAGE_TOKENS;
    const uint32_t open_keys = index->n_keys % RSR_PAGE_TOKENS;
    rsr_louver *made = malloc(sizeof(*made));
    struct louver_block **blocks = calloc(index->n_blocks + 1u, sizeof(struct louver_block *));
    struct louver_block *open = NULL;
    if (made != NULL) {
        *made = *index;
        made->n_blocks = n_sealed + (open_keys != 0);
        made->shelf = NULL;
        made->n_taken = 0;
        made->scratch = NULL;
        made->scratch_bytes = 0;
        made->blocks = blocks;
        made->capacity_blocks = index->n_blocks + 1u;
        open = open_keys == 0 ? NULL : copy_block(made, index->blocks[n_sealed], open_keys);
    }
    if (made == NULL || blocks == NULL || (open_keys != 0 && open == NULL)) {
        louver_release_block(open);
        louver_release_shelf(made == NULL ? NULL : made->shelf);
        free(made);
        free(blocks);
        return refuse_memory(err, "a fork");
    }
    for (uint32_t i = 0; i < n_sealed; i++) {
        blocks[i] = index->blocks[i];
        atomic_fetch_add_explicit(&blocks[i]->references, 1, memory_order_relaxed);
    }
    blocks[n_sealed] = open;
    *fork = made;
    return RSR_OK;
}

rsr_status rsr_louver_get_info(const rsr_louver *index, rsr_louver_info *info) {
    if (index == NULL || info == NULL)
        return RSR_ERR_ARGUMENT;
    const rsr_louver_info known = {
        .size_bytes = sizeof(known),
        .length = index->n_keys,
        .head_dim = index->setup.head_dim,
        .n_planes = index->setup.shape.n_planes,
        .kv_bytes = index->n_blocks * rsr_kv_rows_bytes(&index->setup.kv),
        .index_bytes = (uint64_t)index->n_blocks *
                       (sizeof(struct louver_block) + louver_sidecar_bytes(&index->setup)),
        .kernel = index->setup.kernel->name,
        .kv_type = rsr_kv_type_name(index->setup.kv.type),
    };
    return rsr_write_info(info, &known, sizeof(known), NULL);
}
