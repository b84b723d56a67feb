/* kv_rows.h - the keys and values of one KV page and KV head, stored in one of the types of ops.h,
 * with the errors of storing.
 *
 * In memory: RSR_PAGE_TOKENS rows of keys, as many rows of values, and, if losses are kept, a
 * struct rsr_kv_loss for each token. The KV pool of an engine and the index of rsr_louver.h have
 * this layout.
 */
#ifndef RSR_KV_ROWS_H
#define RSR_KV_ROWS_H

#include "ops/ops.h"
#include "runtime.h"

#define RSR_KV_MAX_LOSS_DIM 320u /* losses are kept for rows of at most this many elements */

/* |x - stored x| of a key and of its value, rounded up. NaN: an element is NaN. */
struct rsr_kv_loss {
    float key, value;
};

struct rsr_kv_format {
    enum rsr_kv_type type;
    bool has_losses; /* never with RSR_KV_F32, which loses nothing */
    uint32_t head_dim;
    uint32_t row_floats;          /* head_dim rounded up to 16 */
    uint32_t row_bytes;           /* rsr_kv_row_bytes() */
    bool far;                     /* as in struct rsr_attend_page */
    const struct rsr_kv_ops *ops; /* of the type */
};

/* A place in memory: owns nothing. Elements from head_dim on are zero. */
struct rsr_kv_rows {
    void *keys, *values;
    struct rsr_kv_loss *losses; /* NULL: not kept */
};

/* The default type, on every host and for every target. Language models: bfloat16, which takes half
 * the bytes of float32; the bundled model's perplexity is 30.19 (f16 and float32: 30.20). Embedding
 * models: float32, because they keep no keys from one text to the next. */
static inline enum rsr_kv_type rsr_kv_default(uint32_t pooling) {
    return pooling == RSR_POOLING_NONE ? RSR_KV_BF16 : RSR_KV_F32;
}

/* "f32", "bf16", "f16" or "int8"; NULL and "" leave *type as it is. */
RSR_NODISCARD rsr_status rsr_kv_type_parse(const char *name, enum rsr_kv_type *type,
                                           rsr_error *err);
const char *rsr_kv_type_name(enum rsr_kv_type type);

/* `losses` asks to keep losses, if the type has any. */
struct rsr_kv_format rsr_kv_format_of(enum rsr_kv_type type, uint32_t head_dim, bool losses,
                                      const struct rsr_ops *ops);

/* Blocks with keys and values; memory is laid out for at least one. */
static inline uint32_t rsr_kv_layers(const struct rsr_hyper *hyper) {
    return hyper->n_layers > hyper->delta_layers ? hyper->n_layers - hyper->delta_layers : 1;
}

/* Bytes of a page's rows of one KV head: a multiple of 64. */
uint64_t rsr_kv_rows_bytes(const struct rsr_kv_format *format);
/* Bytes of a page: rows of all layers and KV heads, each with a sidecar. A multiple of 64; 0: too
 * large. */
uint64_t rsr_kv_page_bytes(const struct rsr_kv_format *format, uint32_t sidecar_bytes,
                           const struct rsr_hyper *hyper);
/* The rows that begin at `memory`, which is zeroed and aligned to 64 bytes. */
struct rsr_kv_rows rsr_kv_rows_at(const struct rsr_kv_format *format, void *memory);
/* Rows from number `slot` on. */
struct rsr_kv_rows rsr_kv_rows_from(const struct rsr_kv_format *format, struct rsr_kv_rows rows,
                                    uint32_t slot);

/* Stores a key and a value, [head_dim] each, as row `slot`. */
void rsr_kv_rows_store(const struct rsr_kv_format *format, struct rsr_kv_rows rows, uint32_t slot,
                       const float *key, const float *value);
/* Copies the first n rows. */
void rsr_kv_rows_copy(const struct rsr_kv_format *format, struct rsr_kv_rows to,
                      struct rsr_kv_rows from, uint32_t n);

#endif
