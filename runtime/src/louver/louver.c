/* louver.c - the index as an object: creating, growing, cutting and forking it. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cpu.h"
#include "louver.h"
#include "runtime.h"
#include "sketch/sketch_round.h"

/* ---- Pages ---- */

static size_t head_bytes(void) {
    return (sizeof(struct louver_page) + 63u) & ~(size_t)63u;
}

static size_t row_bytes(const rsr_louver *index) {
    return index->row_floats * sizeof(float);
}

static struct louver_page *create_page(const rsr_louver *index) {
    const size_t rows = RSR_PAGE_TOKENS * row_bytes(index);
    const size_t bytes = head_bytes() + 2 * rows + index->shape.block_bytes;
    char *memory = aligned_alloc(64, bytes);
    if (memory == NULL)
        return NULL;
    memset(memory, 0, head_bytes() + 2 * rows); /* rows end in zeros */
    struct louver_page *page = (struct louver_page *)(void *)memory;
    atomic_init(&page->references, 1);
    page->keys = (float *)(void *)(memory + head_bytes());
    page->values = page->keys + (size_t)RSR_PAGE_TOKENS * index->row_floats;
    page->sketch = memory + head_bytes() + 2 * rows;
    return page;
}

static void release_page(struct louver_page *page) {
    if (page != NULL && atomic_fetch_sub_explicit(&page->references, 1, memory_order_acq_rel) == 1)
        free(page);
}

/* The first n_keys rows of a page in a new one; NULL if there is no memory. */
static struct louver_page *copy_page(const rsr_louver *index, const struct louver_page *from,
                                     uint32_t n_keys) {
    struct louver_page *page = create_page(index);
    if (page != NULL) {
        memcpy(page->keys, from->keys, n_keys * row_bytes(index));
        memcpy(page->values, from->values, n_keys * row_bytes(index));
    }
    return page;
}

double louver_row_norm(const float *row, uint32_t n) {
    double sum = 0.0;
    for (uint32_t i = 0; i < n; i++)
        sum += (double)row[i] * (double)row[i];
    return rsr_sum_up(sqrt(sum));
}

static void seal_page(const rsr_louver *index, struct louver_page *page) {
    page->value_norm = 0.0;
    for (uint32_t j = 0; j < RSR_PAGE_TOKENS; j++)
        page->value_norm =
            fmax(page->value_norm,
                 louver_row_norm(page->values + (size_t)j * index->row_floats, index->head_dim));
    rsr_sketch_build(&index->shape, page->sketch, page->keys, index->row_floats);
}

/* ---- Creating and ending ---- */

static const struct rsr_ops *best_ops(uint64_t features) {
    int level = RSR_OPS_LEVEL_COUNT - 1;
    while (rsr_ops_get((enum rsr_ops_level)level) == NULL ||
           (rsr_ops_features((enum rsr_ops_level)level) & ~features) != 0)
        level--; /* RSR_OPS_GENERIC runs anywhere */
    return rsr_ops_get((enum rsr_ops_level)level);
}

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
    rsr_louver *made = calloc(1, sizeof(*made));
    if (made == NULL)
        return refuse_memory(err, "an index");
    const uint64_t features = rsr_cpu_features();
    made->head_dim = known.head_dim;
    made->row_floats = (known.head_dim + 15u) & ~15u;
    made->scale = known.scale > 0.0f ? known.scale : 1.0f / sqrtf((float)known.head_dim);
    made->shape = rsr_sketch_shape_of(known.head_dim, known.n_planes);
    made->kernel = rsr_sketch_kernel_for(features);
    made->ops = best_ops(features);
    *index = made;
    return RSR_OK;
}

void rsr_louver_destroy(rsr_louver *index) {
    if (index == NULL)
        return;
    for (uint32_t i = 0; i < index->n_pages; i++)
        release_page(index->pages[i]);
    free(index->pages);
    free(index->scratch.hits);
    free(index->scratch.bounds);
    free(index->scratch.masks);
    free(index->scratch.best);
    free(index->scratch.frames);
    free(index->scratch.queries);
    free(index->scratch.attention);
    free(index);
}

/* ---- Growing ---- */

static rsr_status reserve_pages(rsr_louver *index, uint32_t n_pages, rsr_error *err) {
    if (n_pages > index->capacity_pages) {
        const uint32_t doubled = index->capacity_pages * 2,
                       capacity = n_pages > doubled ? n_pages : doubled;
        struct louver_page **pages = realloc(index->pages, capacity * sizeof(struct louver_page *));
        if (pages == NULL)
            return refuse_memory(err, "the list of pages");
        index->pages = pages;
        index->capacity_pages = capacity;
    }
    const uint32_t before = index->n_pages;
    for (uint32_t i = before; i < n_pages; i++) {
        index->pages[i] = create_page(index);
        if (index->pages[i] == NULL) {
            while (i > before)
                release_page(index->pages[--i]);
            return refuse_memory(err, "a page of keys");
        }
    }
    if (n_pages > before)
        index->n_pages = n_pages;
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
    rsr_status status = louver_check_float_mode(err);
    if (status == RSR_OK)
        status = louver_check_finite(keys, n_keys, index->head_dim, "key", err);
    if (status == RSR_OK)
        status = louver_check_finite(values, n_keys, index->head_dim, "value", err);
    const uint32_t n_after = index->n_keys + (uint32_t)n_keys;
    if (status == RSR_OK)
        status = reserve_pages(index, (n_after + RSR_PAGE_TOKENS - 1) / RSR_PAGE_TOKENS, err);
    if (status != RSR_OK)
        return status;
    for (size_t i = 0; i < n_keys; i++) {
        struct louver_page *page = index->pages[index->n_keys / RSR_PAGE_TOKENS];
        const size_t row = (size_t)(index->n_keys % RSR_PAGE_TOKENS) * index->row_floats;
        const size_t bytes = index->head_dim * sizeof(float);
        memcpy(page->keys + row, keys + i * index->head_dim, bytes);
        memcpy(page->values + row, values + i * index->head_dim, bytes);
        if (++index->n_keys % RSR_PAGE_TOKENS == 0)
            seal_page(index, page);
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
    /* A page that becomes the open one must be this index's own. */
    if (open_keys != 0 &&
        atomic_load_explicit(&index->pages[last]->references, memory_order_acquire) > 1) {
        struct louver_page *own = copy_page(index, index->pages[last], open_keys);
        if (own == NULL)
            return refuse_memory(err, "a page of keys");
        release_page(index->pages[last]);
        index->pages[last] = own;
    }
    const uint32_t n_pages = last + (open_keys != 0);
    while (index->n_pages > n_pages)
        release_page(index->pages[--index->n_pages]);
    index->n_keys = length;
    return RSR_OK;
}

rsr_status rsr_louver_fork(const rsr_louver *index, rsr_louver **fork, rsr_error *err) {
    if (index == NULL || fork == NULL)
        return refuse_null(err, index == NULL ? "index" : "result pointer");
    const uint32_t n_sealed = louver_sealed_pages(index);
    const uint32_t open_keys = index->n_keys % RSR_PAGE_TOKENS;
    rsr_louver *made = malloc(sizeof(*made));
    struct louver_page **pages = calloc(index->n_pages + 1u, sizeof(struct louver_page *));
    struct louver_page *open = NULL;
    if (open_keys != 0)
        open = copy_page(index, index->pages[n_sealed], open_keys);
    if (made == NULL || pages == NULL || (open_keys != 0 && open == NULL)) {
        free(made);
        free(pages);
        release_page(open);
        return refuse_memory(err, "a fork");
    }
    for (uint32_t i = 0; i < n_sealed; i++) {
        pages[i] = index->pages[i];
        atomic_fetch_add_explicit(&pages[i]->references, 1, memory_order_relaxed);
    }
    pages[n_sealed] = open;
    *made = *index;
    made->scratch = (struct louver_scratch){0};
    made->pages = pages;
    made->n_pages = n_sealed + (open != NULL);
    made->capacity_pages = index->n_pages + 1u;
    *fork = made;
    return RSR_OK;
}

rsr_status rsr_louver_get_info(const rsr_louver *index, rsr_louver_info *info) {
    if (index == NULL || info == NULL)
        return RSR_ERR_ARGUMENT;
    const rsr_louver_info known = {
        .size_bytes = sizeof(known),
        .length = index->n_keys,
        .head_dim = index->head_dim,
        .n_planes = index->shape.n_planes,
        .kv_bytes = (uint64_t)index->n_pages * 2 * RSR_PAGE_TOKENS * row_bytes(index),
        .index_bytes = (uint64_t)index->n_pages * (head_bytes() + index->shape.block_bytes),
        .kernel = index->kernel->name,
    };
    return rsr_write_info(info, &known, sizeof(known), NULL);
}
