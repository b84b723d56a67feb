/* kv_rows.c - see kv_rows.h. */
#include <math.h>
#include <string.h>

#include "kv_rows.h"
#include "rsr_cpu_detect.h"
#include "sketch/sketch_round.h"

static const char *const type_names[RSR_KV_TYPES] = {
    [RSR_KV_F32] = "f32",
    [RSR_KV_BF16] = "bf16",
    [RSR_KV_F16] = "f16",
    [RSR_KV_INT8] = "int8",
};

const char *rsr_kv_type_name(enum rsr_kv_type type) {
    return type_names[type];
}

rsr_status rsr_kv_type_parse(const char *name, enum rsr_kv_type *type, rsr_error *err) {
    if (name == NULL || name[0] == '\0')
        return RSR_OK;
    for (uint32_t i = 0; i < RSR_KV_TYPES; i++) {
        if (strcmp(name, type_names[i]) == 0) {
            *type = (enum rsr_kv_type)i;
            return RSR_OK;
        }
    }
    return rsr_fail(err, RSR_ERR_ARGUMENT,
                    "KV type '%.80s' is unknown; there are f32, bf16, f16 and int8", name);
}

struct rsr_kv_format rsr_kv_format_of(enum rsr_kv_type type, uint32_t head_dim, bool losses,
                                      const struct rsr_ops *ops) {
    const uint32_t row_floats = (head_dim + 15u) & ~15u;
    return (struct rsr_kv_format){
        .type = type,
        .has_losses = losses && type != RSR_KV_F32,
        .head_dim = head_dim,
        .row_floats = row_floats,
        .row_bytes = rsr_kv_row_bytes(type, row_floats),
        .far = rsr_detect_far_fetches(),
        .ops = &ops->kv[type],
    };
}

/* The rows of a page take a multiple of 64 bytes, and so do its losses. */
uint64_t rsr_kv_rows_bytes(const struct rsr_kv_format *format) {
    const uint64_t losses = format->has_losses ? sizeof(struct rsr_kv_loss) : 0;
    return RSR_PAGE_TOKENS * (2 * (uint64_t)format->row_bytes + losses);
}

uint64_t rsr_kv_page_bytes(const struct rsr_kv_format *format, uint32_t sidecar_bytes,
                           const struct rsr_hyper *hyper) {
    uint64_t bytes = rsr_kv_rows_bytes(format) + sidecar_bytes;
    if (__builtin_mul_overflow(bytes, (uint64_t)rsr_kv_layers(hyper), &bytes) ||
        __builtin_mul_overflow(bytes, (uint64_t)hyper->n_kv_heads, &bytes))
        return 0;
    return bytes;
}

struct rsr_kv_rows rsr_kv_rows_at(const struct rsr_kv_format *format, void *memory) {
    const size_t bytes = (size_t)RSR_PAGE_TOKENS * format->row_bytes;
    char *keys = memory, *losses = keys + 2 * bytes;
    return (struct rsr_kv_rows){
        .keys = keys,
        .values = keys + bytes,
        .losses = format->has_losses ? (struct rsr_kv_loss *)(void *)losses : NULL,
    };
}

struct rsr_kv_rows rsr_kv_rows_from(const struct rsr_kv_format *format, struct rsr_kv_rows rows,
                                    uint32_t slot) {
    const size_t at = (size_t)slot * format->row_bytes;
    return (struct rsr_kv_rows){
        .keys = (char *)rows.keys + at,
        .values = (char *)rows.values + at,
        .losses = rows.losses == NULL ? NULL : rows.losses + slot,
    };
}

/* |x - row|: a difference of two float32 is rounded once in double, and its square neither
 * overflows nor underflows there. In 8 partial sums, which compilers put into vector lanes. */
static float loss_of(const struct rsr_kv_format *format, const void *row, const float *x) {
    float stored[RSR_KV_MAX_LOSS_DIM];
    double sums[8] = {0.0}, sum = 0.0;
    uint32_t d = 0;
    format->ops->load(stored, row, format->row_floats);
    for (; d + 8 <= format->head_dim; d += 8) {
        for (uint32_t i = 0; i < 8; i++) {
            const double lost = (double)x[d + i] - (double)stored[d + i];
            sums[i] += lost * lost;
        }
    }
    for (; d < format->head_dim; d++) {
        const double lost = (double)x[d] - (double)stored[d];
        sum += lost * lost;
    }
    for (uint32_t i = 0; i < 8; i++)
        sum += sums[i];
    return rsr_float_up(rsr_sum_up(sqrt(sum)));
}

void rsr_kv_rows_store(const struct rsr_kv_format *format, struct rsr_kv_rows rows, uint32_t slot,
                       const float *key, const float *value) {
    const struct rsr_kv_rows row = rsr_kv_rows_from(format, rows, slot);
    format->ops->store(row.keys, format->row_floats, key, format->head_dim);
    format->ops->store(row.values, format->row_floats, value, format->head_dim);
    if (row.losses != NULL)
        *row.losses = (struct rsr_kv_loss){loss_of(format, row.keys, key),
                                           loss_of(format, row.values, value)};
}

void rsr_kv_rows_copy(const struct rsr_kv_format *format, struct rsr_kv_rows to,
                      struct rsr_kv_rows from, uint32_t n) {
    memcpy(to.keys, from.keys, (size_t)n * format->row_bytes);
    memcpy(to.values, from.values, (size_t)n * format->row_bytes);
    if (to.losses != NULL)
        memcpy(to.losses, from.losses, n * sizeof(*to.losses));
}
