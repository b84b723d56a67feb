/* safetensors.c - the header of a safetensors file, checked, as tensors that borrow the file.
 *
 *   u64 little-endian n | n bytes of JSON {name: {dtype, shape, data_offsets}} | data
 *
 * The checks are those of the format's reference implementation: the tensors cover the data
 * exactly, without overlap or hole, and every size follows from shape and type. In addition, there
 * may be at most RSRC_MAX_DIMS dimensions, and only types that this compiler reads.
 */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "reader/checkpoint.h"
#include "reader/reader.h"

#define LENGTH_BYTES 8
#define MAX_HEADER_BYTES UINT64_C(100000000) /* the reference implementation's limit */
#define MAX_TENSORS (UINT32_C(1) << 18)
#define MAX_REPORTED 16 /* bad entries of one file; then reading stops */

static const struct {
    const char *name;
    enum rsr_dtype dtype;
    uint32_t width;
} DTYPES[] = {
    {"F32", RSR_DTYPE_F32, 4}, {"BF16", RSR_DTYPE_BF16, 2}, {"F16", RSR_DTYPE_F16, 2},
    {"I8", RSR_DTYPE_I8, 1},   {"U8", RSR_DTYPE_U8, 1},     {"I32", RSR_DTYPE_I32, 4},
    {"I64", RSR_DTYPE_I64, 8},
};

/* The file being read. */
struct source {
    struct rsrc_diag *diag;
    struct rsrc_arena *arena;
    const char *file;
    const uint8_t *bytes;
    uint64_t size_bytes;
    uint64_t data_at; /* first byte after the header */
    bool is_cut;      /* a tensor lies beyond the end; all later ones would repeat the error */
};

static struct rsrc_place header_place(const struct source *source, const char *tensor) {
    return (struct rsrc_place){
        .file = source->file, .has_offset = true, .offset = LENGTH_BYTES, .tensor = tensor};
}

static enum rsrc_status read_header_length(struct source *source, uint64_t *length) {
    struct rsrc_place place = {.file = source->file, .has_offset = true};
    if (source->size_bytes < LENGTH_BYTES) {
        place.offset = source->size_bytes;
        return rsrc_refuse(source->diag, "safetensors-truncated", &place,
                           "the file may be an unfinished download; fetch it again",
                           "%llu bytes are too few for a safetensors file",
                           (unsigned long long)source->size_bytes);
    }
    uint64_t n = 0;
    for (uint32_t i = 0; i < LENGTH_BYTES; i++) {
        n |= (uint64_t)source->bytes[i] << (8 * i);
    }
    if (n > MAX_HEADER_BYTES)
        return rsrc_refuse(source->diag, "safetensors-header-size", &place,
                           "the file is probably not in safetensors format",
                           "the header claims %llu bytes; the format allows %llu",
                           (unsigned long long)n, (unsigned long long)MAX_HEADER_BYTES);
    if (n > source->size_bytes - LENGTH_BYTES)
        return rsrc_refuse(source->diag, "safetensors-truncated", &place,
                           "the file may be an unfinished download; fetch it again",
                           "the header claims %llu bytes and the file has %llu after the length",
                           (unsigned long long)n,
                           (unsigned long long)(source->size_bytes - LENGTH_BYTES));
    source->data_at = LENGTH_BYTES + n;
    *length = n;
    return RSRC_OK;
}

static enum rsrc_status read_dtype(const struct source *source, const json_t *entry,
                                   struct rsr_tensor *tensor, uint32_t *width) {
    struct rsrc_place place = header_place(source, tensor->name);
    const char *name = json_string_value(json_object_get(entry, "dtype"));
    if (name == NULL)
        return rsrc_refuse(source->diag, "safetensors-entry", &place, NULL,
                           "\"dtype\" is %s where a string is expected",
                           rsrc_json_type_name(json_object_get(entry, "dtype")));
    for (size_t i = 0; i < sizeof(DTYPES) / sizeof(DTYPES[0]); i++) {
        if (strcmp(name, DTYPES[i].name) == 0) {
            tensor->dtype = DTYPES[i].dtype;
            *width = DTYPES[i].width;
            return RSRC_OK;
        }
    }
    return rsrc_refuse(
        source->diag, "safetensors-dtype", &place,
        "F32, BF16, F16, I8, U8, I32 and I64 are read; convert the tensor to one of them",
        "type '%s' is not supported", rsrc_quote(source->arena, name));
}

/* Reads dimensions, and computes the size in bytes from them and the width. */
static enum rsrc_status read_shape(const struct source *source, const json_t *entry, uint32_t width,
                                   struct rsr_tensor *tensor, uint64_t *size_bytes) {
    struct rsrc_place place = header_place(source, tensor->name);
    const json_t *shape = json_object_get(entry, "shape");
    if (!json_is_array(shape))
        return rsrc_refuse(source->diag, "safetensors-entry", &place, NULL,
                           "\"shape\" is %s where a list is expected", rsrc_json_type_name(shape));
    if (json_array_size(shape) > RSRC_MAX_DIMS)
        return rsrc_refuse(source->diag, "safetensors-shape", &place, NULL,
                           "%zu dimensions; at most %d are supported", json_array_size(shape),
                           RSRC_MAX_DIMS);
    uint64_t size = width;
    tensor->n_dims = (uint32_t)json_array_size(shape);
    for (uint32_t i = 0; i < tensor->n_dims; i++) {
        const json_t *dim = json_array_get(shape, i);
        if (!json_is_integer(dim) || json_integer_value(dim) < 0)
            return rsrc_refuse(source->diag, "safetensors-shape", &place, NULL,
                               "dimension %u is not a non-negative integer", i);
        tensor->shape[i] = (uint64_t)json_integer_value(dim);
        if (__builtin_mul_overflow(size, tensor->shape[i], &size))
            return rsrc_refuse(source->diag, "safetensors-shape", &place, NULL,
                               "the product of the dimensions does not fit in 64 bits");
    }
    *size_bytes = size;
    return RSRC_OK;
}

static enum rsrc_status read_offsets(struct source *source, const json_t *entry,
                                     uint64_t expected_bytes, struct rsr_tensor *tensor) {
    struct rsrc_place place = header_place(source, tensor->name);
    const json_t *offsets = json_object_get(entry, "data_offsets");
    const json_t *first = json_array_get(offsets, 0), *last = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(first) || !json_is_integer(last))
        return rsrc_refuse(source->diag, "safetensors-entry", &place, NULL,
                           "\"data_offsets\" must be a list of two integers");
    json_int_t begin = json_integer_value(first), end = json_integer_value(last);
    if (begin < 0 || end < begin)
        return rsrc_refuse(source->diag, "safetensors-offsets", &place, NULL,
                           "data_offsets [%lld, %lld] are not a range", (long long)begin,
                           (long long)end);
    if ((uint64_t)end > source->size_bytes - source->data_at) {
        source->is_cut = true;
        return rsrc_refuse(
            source->diag, "safetensors-truncated", &place,
            "the file may be an unfinished download; fetch it again",
            "data_offsets [%lld, %lld] reach past the end of the file, which has %llu bytes "
            "of data",
            (long long)begin, (long long)end,
            (unsigned long long)(source->size_bytes - source->data_at));
    }
    if ((uint64_t)(end - begin) != expected_bytes)
        return rsrc_refuse(source->diag, "safetensors-size", &place, NULL,
                           "shape and type make %llu bytes, data_offsets %llu",
                           (unsigned long long)expected_bytes, (unsigned long long)(end - begin));
    tensor->offset = source->data_at + (uint64_t)begin;
    tensor->size_bytes = expected_bytes;
    tensor->data = source->bytes + tensor->offset;
    return RSRC_OK;
}

static enum rsrc_status read_entry(struct source *source, const char *name, const json_t *entry,
                                   struct rsr_tensor *out) {
    struct rsr_tensor tensor = {.name = rsrc_arena_strdup(source->arena, name),
                                .file = source->file};
    if (!json_is_object(entry)) {
        struct rsrc_place place = header_place(source, tensor.name);
        return rsrc_refuse(source->diag, "safetensors-entry", &place, NULL,
                           "its entry is %s where an object is expected",
                           rsrc_json_type_name(entry));
    }
    uint32_t width;
    uint64_t size_bytes;
    if (read_dtype(source, entry, &tensor, &width) != RSRC_OK ||
        read_shape(source, entry, width, &tensor, &size_bytes) != RSRC_OK ||
        read_offsets(source, entry, size_bytes, &tensor) != RSRC_OK) {
        return RSRC_FAILED;
    }
    *out = tensor;
    return RSRC_OK;
}

static int compare_offsets(const void *left, const void *right) {
    const struct rsr_tensor *a = left, *b = right;
    if (a->offset != b->offset) {
        return a->offset < b->offset ? -1 : 1;
    }
    /* Empty tensors come first, because they end where they begin. */
    return (a->size_bytes > b->size_bytes) - (a->size_bytes < b->size_bytes);
}

static int compare_names(const void *left, const void *right) {
    return strcmp(((const struct rsr_tensor *)left)->name,
                  ((const struct rsr_tensor *)right)->name);
}

/* The tensors, ordered by offset, must follow each other without overlap or hole to the end. */
static enum rsrc_status check_coverage(const struct source *source,
                                       const struct rsr_tensor *tensors, uint32_t n_tensors) {
    uint64_t at = source->data_at;
    for (uint32_t i = 0; i < n_tensors; i++) {
        const struct rsr_tensor *tensor = &tensors[i];
        struct rsrc_place place = {.file = source->file,
                                   .has_offset = true,
                                   .offset = tensor->offset,
                                   .tensor = tensor->name};
        if (tensor->offset < at)
            return rsrc_refuse(source->diag, "safetensors-overlap", &place, NULL,
                               "its data overlaps that of tensor '%s'",
                               rsrc_quote(source->arena, tensors[i - 1].name));
        if (tensor->offset > at)
            return rsrc_refuse(source->diag, "safetensors-hole", &place, NULL,
                               "%llu bytes before its data belong to no tensor",
                               (unsigned long long)(tensor->offset - at));
        at += tensor->size_bytes;
    }
    if (at != source->size_bytes) {
        struct rsrc_place place = {.file = source->file, .has_offset = true, .offset = at};
        return rsrc_refuse(source->diag, "safetensors-trailing", &place, NULL,
                           "%llu bytes at the end of the file belong to no tensor",
                           (unsigned long long)(source->size_bytes - at));
    }
    return RSRC_OK;
}

/* Fills `tensors`, which has room for every key of the header. */
static enum rsrc_status read_entries(struct source *source, json_t *header,
                                     struct rsr_tensor *tensors, uint32_t *n_tensors) {
    uint32_t n = 0, n_bad = 0;
    const char *name;
    json_t *entry;
    json_object_foreach(header, name, entry) {
        if (n_bad == MAX_REPORTED || source->is_cut) {
            break;
        }
        if (strcmp(name, "__metadata__") == 0) {
            if (!json_is_object(entry)) {
                struct rsrc_place place = header_place(source, NULL);
                rsrc_error(source->diag, "safetensors-metadata", &place, NULL,
                           "\"__metadata__\" is %s where an object is expected",
                           rsrc_json_type_name(entry));
                n_bad++;
            }
        } else if (read_entry(source, name, entry, &tensors[n]) == RSRC_OK) {
            n++;
        } else {
            n_bad++;
        }
    }
    *n_tensors = n;
    return n_bad == 0 ? RSRC_OK : RSRC_FAILED;
}

enum rsrc_status rsrc_parse_safetensors(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                        const char *name, const uint8_t *bytes, uint64_t size_bytes,
                                        struct rsr_tensor **tensors, uint32_t *n_tensors) {
    struct source source = {.diag = diag,
                            .arena = arena,
                            .file = rsrc_arena_strdup(arena, name),
                            .bytes = bytes,
                            .size_bytes = size_bytes};
    uint64_t length;
    json_t *header = NULL;
    enum rsrc_status status = RSRC_FAILED;
    if (read_header_length(&source, &length) != RSRC_OK ||
        rsrc_json_parse_embedded(diag, source.file, LENGTH_BYTES, bytes + LENGTH_BYTES, length,
                                 "safetensors", &header) != RSRC_OK) {
        goto cleanup;
    }
    struct rsrc_place place = header_place(&source, NULL);
    if (!json_is_object(header)) {
        rsrc_error(diag, "safetensors-entry", &place, NULL,
                   "the header is %s where an object is expected", rsrc_json_type_name(header));
        goto cleanup;
    }
    if (json_object_size(header) > MAX_TENSORS) {
        rsrc_error(diag, "safetensors-count", &place, NULL, "%zu tensors; at most %u are supported",
                   json_object_size(header), MAX_TENSORS);
        goto cleanup;
    }
    uint32_t n = 0;
    struct rsr_tensor *list =
        RSRC_NEW_ARRAY(arena, json_object_size(header) + 1, struct rsr_tensor);
    if (read_entries(&source, header, list, &n) != RSRC_OK) {
        goto cleanup;
    }
    if (n == 0) {
        rsrc_error(diag, "safetensors-empty", &place, NULL, "the file has no tensors");
        goto cleanup;
    }
    qsort(list, n, sizeof(*list), compare_offsets);
    if (check_coverage(&source, list, n) != RSRC_OK) {
        goto cleanup;
    }
    qsort(list, n, sizeof(*list), compare_names);
    *tensors = list;
    *n_tensors = n;
    status = RSRC_OK;
cleanup:
    json_decref(header);
    return status;
}
