/* gguf_file.h - a GGUF file put together for a test, value by value. */
#ifndef TESTS_UNIT_GGUF_FILE_H
#define TESTS_UNIT_GGUF_FILE_H

#include <stdint.h>
#include <string.h>

#include "base/buffer.h"
#include "reader/gguf.h"

/* Entries that a test adds; the counts are right unless a test changes the bytes. */
struct gguf_file {
    struct rsrc_buffer values, infos, data;
    uint64_t n_values, n_tensors;
    uint32_t alignment; /* 0: 32 */
};

static inline void gguf_put(struct rsrc_buffer *out, uint64_t number, uint32_t n_bytes) {
    for (uint32_t i = 0; i < n_bytes; i++) {
        const uint8_t byte = (uint8_t)(number >> (8 * i));
        rsrc_buffer_append(out, &byte, 1);
    }
}

static inline void gguf_put_string(struct rsrc_buffer *out, const char *text) {
    gguf_put(out, strlen(text), 8);
    rsrc_buffer_append(out, text, strlen(text));
}

static inline void gguf_key(struct gguf_file *file, const char *key, uint32_t type) {
    gguf_put_string(&file->values, key);
    gguf_put(&file->values, type, 4);
    file->n_values++;
}

static inline void gguf_u32(struct gguf_file *file, const char *key, uint32_t value) {
    gguf_key(file, key, RSRC_GGUF_U32);
    gguf_put(&file->values, value, 4);
}

static inline void gguf_f32(struct gguf_file *file, const char *key, float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    gguf_key(file, key, RSRC_GGUF_F32);
    gguf_put(&file->values, bits, 4);
}

static inline void gguf_text(struct gguf_file *file, const char *key, const char *text) {
    gguf_key(file, key, RSRC_GGUF_STRING);
    gguf_put_string(&file->values, text);
}

static inline void gguf_pad(struct rsrc_buffer *out, uint32_t alignment) {
    while (out->size_bytes % (alignment == 0 ? 32 : alignment) != 0)
        gguf_put(out, 0, 1);
}

/* A tensor of rows x cols (rows 0: of one dimension), its n_bytes of data zero. */
static inline void gguf_tensor(struct gguf_file *file, const char *name, uint32_t type,
                               uint64_t rows, uint64_t cols, uint64_t n_bytes) {
    gguf_put_string(&file->infos, name);
    gguf_put(&file->infos, rows == 0 ? 1 : 2, 4);
    gguf_put(&file->infos, cols, 8);
    if (rows != 0)
        gguf_put(&file->infos, rows, 8);
    gguf_put(&file->infos, type, 4);
    gguf_pad(&file->data, file->alignment);
    gguf_put(&file->infos, file->data.size_bytes, 8);
    for (uint64_t i = 0; i < n_bytes; i++)
        gguf_put(&file->data, 0, 1);
    file->n_tensors++;
}

/* Returns the file, and frees the parts that it was made of. */
static inline struct rsrc_buffer gguf_finish(struct gguf_file *file) {
    struct rsrc_buffer out = {0};
    rsrc_buffer_append(&out, "GGUF", 4);
    gguf_put(&out, 3, 4);
    gguf_put(&out, file->n_tensors, 8);
    gguf_put(&out, file->n_values, 8);
    rsrc_buffer_append(&out, file->values.data, file->values.size_bytes);
    rsrc_buffer_append(&out, file->infos.data, file->infos.size_bytes);
    gguf_pad(&out, file->alignment);
    rsrc_buffer_append(&out, file->data.data, file->data.size_bytes);
    rsrc_buffer_free(&file->values);
    rsrc_buffer_free(&file->infos);
    rsrc_buffer_free(&file->data);
    return out;
}

#endif
