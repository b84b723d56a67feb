/* gguf_values.c - values of a GGUF file's metadata, whatever type they have. */
#include <string.h>

#include "reader/gguf.h"

static double float_of(const uint8_t *data) {
    float value;
    memcpy(&value, data, sizeof(value));
    return (double)value;
}

static double double_of(const uint8_t *data) {
    double value;
    memcpy(&value, data, sizeof(value));
    return value;
}

static uint64_t bits_of(const uint8_t *data, uint32_t n_bytes) {
    uint64_t bits = 0;
    for (uint32_t i = 0; i < n_bytes; i++)
        bits |= (uint64_t)data[i] << (8 * i);
    return bits;
}

bool rsrc_gguf_number(const struct rsrc_gguf_value *value, double *out) {
    switch (value->type) {
    case RSRC_GGUF_U8:
    case RSRC_GGUF_BOOL:
        *out = (double)value->data[0];
        return true;
    case RSRC_GGUF_I8:
        *out = (double)(int8_t)value->data[0];
        return true;
    case RSRC_GGUF_U16:
        *out = (double)bits_of(value->data, 2);
        return true;
    case RSRC_GGUF_I16:
        *out = (double)(int16_t)bits_of(value->data, 2);
        return true;
    case RSRC_GGUF_U32:
        *out = (double)bits_of(value->data, 4);
        return true;
    case RSRC_GGUF_I32:
        *out = (double)(int32_t)bits_of(value->data, 4);
        return true;
    case RSRC_GGUF_U64:
        *out = (double)bits_of(value->data, 8);
        return true;
    case RSRC_GGUF_I64:
        *out = (double)(int64_t)bits_of(value->data, 8);
        return true;
    case RSRC_GGUF_F32:
        *out = float_of(value->data);
        return true;
    case RSRC_GGUF_F64:
        *out = double_of(value->data);
        return true;
    case RSRC_GGUF_STRING:
    case RSRC_GGUF_ARRAY:
    case RSRC_GGUF_TYPE_COUNT:
        break;
    }
    return false;
}

bool rsrc_gguf_count(const struct rsrc_gguf_value *value, uint32_t max, uint32_t *out) {
    double number;
    if (!rsrc_gguf_number(value, &number) || !(number >= 0.0) || number > (double)max ||
        number != (double)(uint32_t)number)
        return false;
    *out = (uint32_t)number;
    return true;
}

double rsrc_gguf_item(const struct rsrc_gguf_value *array, uint64_t i) {
    const struct rsrc_gguf_value item = {
        .type = array->item_type, .data = array->data + i * rsrc_gguf_type_bytes(array->item_type)};
    double number = 0.0;
    (void)rsrc_gguf_number(&item, &number);
    return number;
}

bool rsrc_gguf_is_text(const struct rsrc_gguf_value *value, const char *text) {
    return value->type == RSRC_GGUF_STRING && value->n == strlen(text) &&
           memcmp(value->data, text, (size_t)value->n) == 0;
}
