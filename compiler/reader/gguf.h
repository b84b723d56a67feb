/* gguf.h - the container of a GGUF file: its metadata by key and its tensors by name.
 *
 * gguf.c checks the container; gguf_model.c checks the metadata of the model. Both borrow the file.
 */
#ifndef RSRC_READER_GGUF_H
#define RSRC_READER_GGUF_H

#include "ir.h"

/* As the file numbers them. */
enum rsrc_gguf_type {
    RSRC_GGUF_U8,
    RSRC_GGUF_I8,
    RSRC_GGUF_U16,
    RSRC_GGUF_I16,
    RSRC_GGUF_U32,
    RSRC_GGUF_I32,
    RSRC_GGUF_F32,
    RSRC_GGUF_BOOL,
    RSRC_GGUF_STRING,
    RSRC_GGUF_ARRAY,
    RSRC_GGUF_U64,
    RSRC_GGUF_I64,
    RSRC_GGUF_F64,
    RSRC_GGUF_TYPE_COUNT
};

/* One entry of the metadata. */
struct rsrc_gguf_value {
    const char *key; /* untrusted */
    enum rsrc_gguf_type type;
    enum rsrc_gguf_type item_type; /* of an array */
    uint64_t n;                    /* items of an array, bytes of a string, else 1 */
    const uint8_t *data;           /* the number, the first item, the bytes; unaligned */
    uint64_t offset;               /* of data in the file */
};

struct rsrc_gguf {
    struct rsrc_gguf_value *values; /* sorted by key, none twice */
    uint32_t n_values;
    struct rsr_tensor
        *tensors; /* in the order of their data; n_tensors is 0 only in a part of a model */
    uint32_t n_tensors;
};

/* Version 3, little-endian. Every size, offset and count is checked. Tensors have types that this
 * compiler reads, and dimensions with rows first. Names are not yet checked to be unique.
 */
RSRC_NODISCARD enum rsrc_status rsrc_read_gguf(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                               const char *file, const uint8_t *bytes,
                                               uint64_t size_bytes, struct rsrc_gguf *out);

/* NULL: there is none. */
const struct rsrc_gguf_value *rsrc_gguf_find(const struct rsrc_gguf *gguf, const char *key);

/* A number of any type as double, exact below 2^53; false: it is none. */
bool rsrc_gguf_number(const struct rsrc_gguf_value *value, double *out);
/* A whole number up to `max`; false: it is none. */
bool rsrc_gguf_count(const struct rsrc_gguf_value *value, uint32_t max, uint32_t *out);
/* Number i of an array of numbers. */
double rsrc_gguf_item(const struct rsrc_gguf_value *array, uint64_t i);
/* Whether the value is a string and equals `text`. */
bool rsrc_gguf_is_text(const struct rsrc_gguf_value *value, const char *text);

/* "u32", "array": for messages. */
const char *rsrc_gguf_type_name(enum rsrc_gguf_type type);
/* Of a number; 0: strings and arrays have no fixed size. */
uint32_t rsrc_gguf_type_bytes(enum rsrc_gguf_type type);

#endif
