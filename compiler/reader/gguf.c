/* gguf.c - the container of a GGUF file, checked.
 *
 *   "GGUF" | u32 version | u64 tensors | u64 entries | metadata | tensor infos | padding | data
 *   entry  string key, u32 type, value
 *   info   string name, u32 n, u64[n] dimensions, the innermost first, u32 type, u64 offset in data
 *   string u64 n, n bytes; array: u32 type, u64 n, n values
 *
 * Everything is little-endian. Tensors follow each other in the data, each padded to the alignment,
 * with no hole. Nothing is allocated for a count before the file is known to be long enough for it.
 * Source: docs/gguf.md of the ggml project; numbers and sizes of tensor types are those of its
 * ggml.h.
 */
#include "reader/gguf.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "reader/gguf_evidence.h"
#include "reader/reader.h"

#define MAGIC "GGUF"
#define VERSION 3u
#define MAX_VALUES (UINT32_C(1) << 16)
#define MAX_TENSORS (UINT32_C(1) << 18)
#define TENSOR_COUNT_AT 8u
#define MAX_KEY_BYTES 65535u /* the format's limit */
#define MAX_NAME_BYTES 255u  /* ggml's is 63 */
#define MAX_DEPTH 4u         /* of arrays in arrays; published files have 1 */
#define MAX_ALIGNMENT 65536u
#define DEFAULT_ALIGNMENT 32u

/* Bytes of the shortest entry (a key and a number of one byte each) and of the shortest info (a
 * name and a dimension).
 */
#define MIN_VALUE_BYTES (8u + 1 + 4 + 1)
#define MIN_INFO_BYTES (8u + 1 + 4 + 8 + 4 + 8)
#define MIN_ARRAY_BYTES (4u + 8)
#define MIN_STRING_BYTES 8u

static const struct {
    const char *name;
    uint32_t bytes; /* 0: no fixed size */
} VALUE_TYPES[RSRC_GGUF_TYPE_COUNT] = {
    [RSRC_GGUF_U8] = {"u8", 1},         [RSRC_GGUF_I8] = {"i8", 1},
    [RSRC_GGUF_U16] = {"u16", 2},       [RSRC_GGUF_I16] = {"i16", 2},
    [RSRC_GGUF_U32] = {"u32", 4},       [RSRC_GGUF_I32] = {"i32", 4},
    [RSRC_GGUF_F32] = {"f32", 4},       [RSRC_GGUF_BOOL] = {"bool", 1},
    [RSRC_GGUF_STRING] = {"string", 0}, [RSRC_GGUF_ARRAY] = {"array", 0},
    [RSRC_GGUF_U64] = {"u64", 8},       [RSRC_GGUF_I64] = {"i64", 8},
    [RSRC_GGUF_F64] = {"f64", 8},
};

/* Types of tensors that are read. A row takes row_bytes, then `bytes` for every `items`;
 * tensor_bytes follow the last row. */
static const struct tensor_type {
    uint32_t id;
    uint32_t items, bytes;
    uint32_t row_bytes, tensor_bytes;
    enum rsr_dtype dtype;
    enum rsr_blocks blocks;
} TENSOR_TYPES[] = {
    {0, 1, 4, 0, 0, RSR_DTYPE_F32, RSR_BLOCKS_NONE},
    {1, 1, 2, 0, 0, RSR_DTYPE_F16, RSR_BLOCKS_NONE},
    {8, 32, 34, 0, 0, RSR_DTYPE_U8, RSR_BLOCKS_Q8_0},
    {14, 256, 210, 0, 0, RSR_DTYPE_U8, RSR_BLOCKS_Q6_K},
    {30, 1, 2, 0, 0, RSR_DTYPE_BF16, RSR_BLOCKS_NONE},
    {34, 256, 54, 0, 0, RSR_DTYPE_U8, RSR_BLOCKS_TQ1_0},
    {35, 256, 66, 0, 0, RSR_DTYPE_U8, RSR_BLOCKS_TQ2_0},
    {36, 64, 16, 0, 32, RSR_DTYPE_U8, RSR_BLOCKS_I2_S_X86}, /* or ARM's: gguf_evidence.c */
    {41, 128, 18, 0, 0, RSR_DTYPE_U8, RSR_BLOCKS_Q1_0},
    {42, 64, 18, 0, 0, RSR_DTYPE_U8, RSR_BLOCKS_Q2_0}, /* or of 128: gguf_evidence.c */
    {43, 256, 42, 0, 0, RSR_DTYPE_U8, RSR_BLOCKS_STQ1_0},
    {134, 64, 13, 2, 0, RSR_DTYPE_U8, RSR_BLOCKS_IQ1_BN},
    {135, 64, 16, 4, 0, RSR_DTYPE_U8, RSR_BLOCKS_IQ2_BN},
    {142, 128, 34, 0, 0, RSR_DTYPE_U8,
     RSR_BLOCKS_Q2_0_G128}, /* this and the next: PrismML's fork */
    {143, 128, 28, 0, 0, RSR_DTYPE_U8, RSR_BLOCKS_PTQ1_0},
};

/* Other types, so that a message can name them. */
static const struct {
    uint32_t id;
    const char *name;
} OTHER_TYPES[] = {
    {2, "Q4_0"},     {3, "Q4_1"},        {6, "Q5_0"},     {7, "Q5_1"},   {9, "Q8_1"},
    {10, "Q2_K"},    {11, "Q3_K"},       {12, "Q4_K"},    {13, "Q5_K"},  {15, "Q8_K"},
    {16, "IQ2_XXS"}, {17, "IQ2_XS"},     {18, "IQ3_XXS"}, {19, "IQ1_S"}, {20, "IQ4_NL"},
    {21, "IQ3_S"},   {22, "IQ2_S"},      {23, "IQ4_XS"},  {24, "I8"},    {25, "I16"},
    {26, "I32"},     {27, "I64"},        {28, "F64"},     {29, "IQ1_M"}, {39, "MXFP4"},
    {40, "NVFP4"},   {335, "IQ2_BN_R4"},
};

#define N_TENSOR_TYPES (sizeof(TENSOR_TYPES) / sizeof(TENSOR_TYPES[0]))
#define N_OTHER_TYPES (sizeof(OTHER_TYPES) / sizeof(OTHER_TYPES[0]))

/* The file being read. */
struct source {
    struct rsrc_diag *diag;
    struct rsrc_arena *arena;
    const char *file;
    const uint8_t *bytes;
    uint64_t size_bytes;
    uint64_t at;
    uint32_t alignment;
    struct rsrc_gguf gguf;
};

static enum rsrc_status refuse(const struct source *source, uint64_t offset, const char *slug,
                               const char *help, const char *problem) {
    const struct rsrc_place place = {.file = source->file, .has_offset = true, .offset = offset};
    return rsrc_refuse(source->diag, slug, &place, help, "%s", problem);
}

static enum rsrc_status refuse_tensor(const struct source *source, const struct rsr_tensor *tensor,
                                      uint64_t offset, const char *slug, const char *help,
                                      const char *problem) {
    const struct rsrc_place place = {
        .file = source->file, .has_offset = true, .offset = offset, .tensor = tensor->name};
    return rsrc_refuse(source->diag, slug, &place, help, "%s", problem);
}

const char *rsrc_gguf_type_name(enum rsrc_gguf_type type) {
    return VALUE_TYPES[type].name;
}

uint32_t rsrc_gguf_type_bytes(enum rsrc_gguf_type type) {
    return VALUE_TYPES[type].bytes;
}

/* ---- numbers and strings --------------------------------------------------------------------- */

static uint64_t left(const struct source *source) {
    return source->size_bytes - source->at;
}

static enum rsrc_status refuse_cut(const struct source *source, const char *what) {
    return refuse(source, source->at, "gguf-truncated",
                  "the file may be an unfinished download; fetch it again",
                  rsrc_arena_printf(source->arena, "the file ends in %s", what));
}

/* Reads a little-endian number of 4 or 8 bytes. */
static enum rsrc_status read_number(struct source *source, uint32_t n_bytes, const char *what,
                                    uint64_t *out) {
    if (left(source) < n_bytes)
        return refuse_cut(source, what);
    uint64_t value = 0;
    for (uint32_t i = 0; i < n_bytes; i++)
        value |= (uint64_t)source->bytes[source->at + i] << (8 * i);
    source->at += n_bytes;
    *out = value;
    return RSRC_OK;
}

/* Reads the length of a string; source->at is then the string. */
static enum rsrc_status read_length(struct source *source, const char *what, uint64_t *out) {
    uint64_t n;
    if (read_number(source, 8, what, &n) != RSRC_OK)
        return RSRC_FAILED;
    if (n > left(source))
        return refuse_cut(source, what);
    *out = n;
    return RSRC_OK;
}

/* A key or a name: a C string of at most `max` bytes, in the arena. */
static enum rsrc_status read_name(struct source *source, const char *what, uint64_t max,
                                  const char **out) {
    const uint64_t begin = source->at;
    uint64_t n = 0;
    if (read_length(source, what, &n) != RSRC_OK)
        return RSRC_FAILED;
    const char *text = (const char *)source->bytes + source->at;
    if (n == 0 || n > max || memchr(text, '\0', (size_t)n) != NULL)
        return refuse(source, begin, "gguf-name", NULL,
                      rsrc_arena_printf(source->arena,
                                        "%s is empty, longer than %" PRIu64
                                        " bytes or holds a NUL byte",
                                        what, max));
    *out = rsrc_arena_strndup(source->arena, text, (size_t)n);
    source->at += n;
    return RSRC_OK;
}

/* ---- metadata -------------------------------------------------------------------------------- */

static enum rsrc_status read_type(struct source *source, enum rsrc_gguf_type *out) {
    const uint64_t begin = source->at;
    uint64_t type;
    if (read_number(source, 4, "the type of a value", &type) != RSRC_OK)
        return RSRC_FAILED;
    if (type >= RSRC_GGUF_TYPE_COUNT)
        return refuse(source, begin, "gguf-value-type", "the format has types 0 to 12",
                      rsrc_arena_printf(source->arena, "a value has type %" PRIu64, type));
    *out = (enum rsrc_gguf_type)type;
    return RSRC_OK;
}

static enum rsrc_status skip_bools(struct source *source, uint64_t n) {
    for (uint64_t i = 0; i < n; i++)
        if (source->bytes[source->at + i] > 1)
            return refuse(source, source->at + i, "gguf-bool", "the file may be damaged",
                          "a bool is neither 0 nor 1");
    source->at += n;
    return RSRC_OK;
}

static enum rsrc_status skip_items(struct source *source, enum rsrc_gguf_type type, uint64_t n,
                                   uint32_t depth);

/* Reads type and length of an array, then its items; source->at is then after them. */
static enum rsrc_status read_array(struct source *source, uint32_t depth,
                                   struct rsrc_gguf_value *out) {
    if (depth == MAX_DEPTH)
        return refuse(source, source->at, "gguf-depth", NULL,
                      "arrays inside each other more than 4 deep");
    enum rsrc_gguf_type type;
    uint64_t n;
    if (read_type(source, &type) != RSRC_OK ||
        read_number(source, 8, "the length of an array", &n) != RSRC_OK)
        return RSRC_FAILED;
    out->item_type = type;
    out->n = n;
    out->offset = source->at;
    return skip_items(source, type, n, depth + 1);
}

static enum rsrc_status skip_items(struct source *source, enum rsrc_gguf_type type, uint64_t n,
                                   uint32_t depth) {
    const uint32_t min_bytes = VALUE_TYPES[type].bytes != 0 ? VALUE_TYPES[type].bytes
                               : type == RSRC_GGUF_STRING   ? MIN_STRING_BYTES
                                                            : MIN_ARRAY_BYTES;
    if (n > left(source) / min_bytes)
        return refuse_cut(source, "an array");
    if (type == RSRC_GGUF_BOOL)
        return skip_bools(source, n);
    if (VALUE_TYPES[type].bytes != 0) {
        source->at += n * VALUE_TYPES[type].bytes;
        return RSRC_OK;
    }
    for (uint64_t i = 0; i < n; i++) {
        struct rsrc_gguf_value inner;
        uint64_t length = 0;
        const enum rsrc_status status = type == RSRC_GGUF_ARRAY
                                            ? read_array(source, depth, &inner)
                                            : read_length(source, "a string", &length);
        if (status != RSRC_OK)
            return status;
        source->at += length;
    }
    return RSRC_OK;
}

static enum rsrc_status read_value(struct source *source, struct rsrc_gguf_value *out) {
    struct rsrc_gguf_value value = {.n = 1};
    enum rsrc_status status;
    if (read_name(source, "a key", MAX_KEY_BYTES, &value.key) != RSRC_OK ||
        read_type(source, &value.type) != RSRC_OK)
        return RSRC_FAILED;
    if (value.type == RSRC_GGUF_ARRAY) {
        status = read_array(source, 0, &value);
    } else if (value.type == RSRC_GGUF_STRING) {
        status = read_length(source, "a string", &value.n);
        value.offset = source->at;
        source->at += status == RSRC_OK ? value.n : 0;
    } else {
        value.offset = source->at;
        status = skip_items(source, value.type, 1, 0);
    }
    value.data = source->bytes + value.offset;
    *out = value;
    return status;
}

static int compare_keys(const void *left_value, const void *right_value) {
    return strcmp(((const struct rsrc_gguf_value *)left_value)->key,
                  ((const struct rsrc_gguf_value *)right_value)->key);
}

static enum rsrc_status read_values(struct source *source) {
    struct rsrc_gguf *gguf = &source->gguf;
    gguf->values = RSRC_NEW_ARRAY(source->arena, gguf->n_values + 1u, struct rsrc_gguf_value);
    for (uint32_t i = 0; i < gguf->n_values; i++)
        if (read_value(source, &gguf->values[i]) != RSRC_OK)
            return RSRC_FAILED;
    qsort(gguf->values, gguf->n_values, sizeof(*gguf->values), compare_keys);
    for (uint32_t i = 1; i < gguf->n_values; i++)
        if (compare_keys(&gguf->values[i - 1], &gguf->values[i]) == 0)
            return refuse(source, gguf->values[i].offset, "gguf-duplicate", NULL,
                          rsrc_arena_printf(source->arena, "the key '%s' occurs twice",
                                            rsrc_quote(source->arena, gguf->values[i].key)));
    return RSRC_OK;
}

const struct rsrc_gguf_value *rsrc_gguf_find(const struct rsrc_gguf *gguf, const char *key) {
    const struct rsrc_gguf_value wanted = {.key = key};
    return bsearch(&wanted, gguf->values, gguf->n_values, sizeof(wanted), compare_keys);
}

static enum rsrc_status find_alignment(struct source *source) {
    const struct rsrc_gguf_value *value = rsrc_gguf_find(&source->gguf, "general.alignment");
    source->alignment = DEFAULT_ALIGNMENT;
    if (value == NULL)
        return RSRC_OK;
    uint32_t alignment = 0;
    if (value->type == RSRC_GGUF_U32)
        memcpy(&alignment, value->data, sizeof(alignment));
    if (alignment == 0 || alignment > MAX_ALIGNMENT || (alignment & (alignment - 1)) != 0)
        return refuse(source, value->offset, "gguf-alignment", NULL,
                      "general.alignment is not a power of two from 1 to 65536, stored as u32");
    source->alignment = alignment;
    return RSRC_OK;
}

/* ---- tensor infos ---------------------------------------------------------------------------- */

static const struct tensor_type *find_tensor_type(uint64_t id) {
    for (size_t i = 0; i < N_TENSOR_TYPES; i++)
        if (TENSOR_TYPES[i].id == id)
            return &TENSOR_TYPES[i];
    return NULL;
}

static enum rsrc_status refuse_type(const struct source *source, const struct rsr_tensor *tensor,
                                    uint64_t offset, uint64_t id) {
    const char *name = "unknown";
    for (size_t i = 0; i < N_OTHER_TYPES; i++)
        name = OTHER_TYPES[i].id == id ? OTHER_TYPES[i].name : name;
    return refuse_tensor(
        source, tensor, offset, "gguf-type",
        "TQ1_0, TQ2_0, PTQ1_0, PQ2_0, STQ1_0, Q2_0, Q1_0, I2_S, IQ1_BN and IQ2_BN are read for "
        "linear layers, F32, F16, BF16, Q8_0 and Q6_K for embedding and head, the first three of "
        "them for the rest",
        rsrc_arena_printf(source->arena, "type %s (%" PRIu64 ") is not supported", name, id));
}

/* Reads dimensions in the order of this compiler, and computes the size from them and the type. */
static enum rsrc_status size_tensor(const struct source *source, uint64_t offset,
                                    const struct tensor_type *type, struct rsr_tensor *tensor) {
    const uint64_t cols = tensor->shape[tensor->n_dims - 1];
    if (cols % type->items != 0)
        return refuse_tensor(source, tensor, offset, "gguf-shape", NULL,
                             rsrc_arena_printf(source->arena,
                                               "rows of %" PRIu64 " do not consist of blocks of %u",
                                               cols, type->items));
    uint64_t size;
    bool is_too_large = __builtin_mul_overflow(cols / type->items, type->bytes, &size) ||
                        __builtin_add_overflow(size, type->row_bytes, &size);
    for (uint32_t d = 0; d + 1 < tensor->n_dims; d++)
        is_too_large = is_too_large || __builtin_mul_overflow(size, tensor->shape[d], &size);
    if (size == 0 || is_too_large || __builtin_add_overflow(size, type->tensor_bytes, &size))
        return refuse_tensor(source, tensor, offset, "gguf-shape", NULL,
                             "a dimension is 0, or their product does not fit in 64 bits");
    tensor->size_bytes = size;
    return RSRC_OK;
}

static enum rsrc_status read_shape(struct source *source, struct rsr_tensor *tensor) {
    const uint64_t begin = source->at;
    uint64_t n;
    if (read_number(source, 4, "a tensor's dimensions", &n) != RSRC_OK)
        return RSRC_FAILED;
    if (n == 0 || n > RSRC_MAX_DIMS)
        return refuse_tensor(source, tensor, begin, "gguf-shape", NULL,
                             rsrc_arena_printf(source->arena,
                                               "%" PRIu64 " dimensions; 1 to %d are supported", n,
                                               RSRC_MAX_DIMS));
    tensor->n_dims = (uint32_t)n;
    for (uint32_t d = tensor->n_dims; d-- > 0;)
        if (read_number(source, 8, "a tensor's dimensions", &tensor->shape[d]) != RSRC_OK)
            return RSRC_FAILED;
    return RSRC_OK;
}

/* Leaves the offset in the data in tensor->offset. */
static enum rsrc_status read_info(struct source *source, struct rsr_tensor *out) {
    struct rsr_tensor tensor = {.file = source->file};
    const uint64_t begin = source->at;
    uint64_t id;
    if (read_name(source, "a tensor's name", MAX_NAME_BYTES, &tensor.name) != RSRC_OK ||
        read_shape(source, &tensor) != RSRC_OK ||
        read_number(source, 4, "a tensor's type", &id) != RSRC_OK)
        return RSRC_FAILED;
    const struct tensor_type *type = find_tensor_type(id);
    if (type == NULL)
        return refuse_type(source, &tensor, source->at - 4, id);
    tensor.dtype = type->dtype;
    tensor.blocks = type->blocks;
    if (size_tensor(source, begin, type, &tensor) != RSRC_OK ||
        read_number(source, 8, "a tensor's offset", &tensor.offset) != RSRC_OK)
        return RSRC_FAILED;
    *out = tensor;
    return RSRC_OK;
}

static enum rsrc_status read_infos(struct source *source) {
    struct rsrc_gguf *gguf = &source->gguf;
    gguf->tensors = RSRC_NEW_ARRAY(source->arena, gguf->n_tensors + 1u, struct rsr_tensor);
    for (uint32_t i = 0; i < gguf->n_tensors; i++)
        if (read_info(source, &gguf->tensors[i]) != RSRC_OK)
            return RSRC_FAILED;
    return RSRC_OK;
}

/* ---- data ------------------------------------------------------------------------------------ */

static uint64_t aligned(const struct source *source, uint64_t offset) {
    return (offset + source->alignment - 1) & ~(uint64_t)(source->alignment - 1);
}

static int compare_offsets(const void *left_tensor, const void *right_tensor) {
    const struct rsr_tensor *a = left_tensor, *b = right_tensor;
    return (a->offset > b->offset) - (a->offset < b->offset);
}

/* Checks tensors in the order of offsets: each begins where the previous one and its padding end.
 * The sizes were bounded by the file, so no sum overflows. */
static enum rsrc_status check_layout(const struct source *source, uint64_t data_at) {
    const struct rsrc_gguf *gguf = &source->gguf;
    uint64_t at = data_at;
    for (uint32_t i = 0; i < gguf->n_tensors; i++) {
        const struct rsr_tensor *tensor = &gguf->tensors[i];
        if (tensor->offset < at) /* not the first, which cannot be before the data */
            return refuse_tensor(
                source, tensor, tensor->offset, "gguf-overlap", NULL,
                rsrc_arena_printf(source->arena, "its data overlap those of tensor '%s'",
                                  rsrc_quote(source->arena, gguf->tensors[i - 1].name)));
        if (tensor->offset > at)
            return refuse_tensor(source, tensor, tensor->offset, "gguf-hole", NULL,
                                 rsrc_arena_printf(source->arena,
                                                   "%" PRIu64
                                                   " bytes before its data belong to no tensor",
                                                   tensor->offset - at));
        at = aligned(source, tensor->offset + tensor->size_bytes);
    }
    if (source->size_bytes > at)
        return refuse(source, at, "gguf-trailing", NULL,
                      rsrc_arena_printf(source->arena, "%" PRIu64 " bytes after the last tensor",
                                        source->size_bytes - at));
    return RSRC_OK;
}

static enum rsrc_status find_data(struct source *source) {
    struct rsrc_gguf *gguf = &source->gguf;
    const uint64_t data_at = aligned(source, source->at);
    if (data_at > source->size_bytes)
        return refuse_cut(source, "the padding before the data");
    const uint64_t n_data = source->size_bytes - data_at;
    qsort(gguf->tensors, gguf->n_tensors, sizeof(*gguf->tensors), compare_offsets);
    if (rsrc_gguf_find_q2_blocks(source->diag, gguf, data_at, n_data, source->alignment) != RSRC_OK)
        return RSRC_FAILED;
    for (uint32_t i = 0; i < gguf->n_tensors; i++) {
        struct rsr_tensor *tensor = &gguf->tensors[i];
        if (tensor->offset > n_data || tensor->size_bytes > n_data - tensor->offset)
            return refuse_tensor(source, tensor, source->size_bytes, "gguf-truncated",
                                 "the file may be an unfinished download; fetch it again",
                                 rsrc_arena_printf(source->arena,
                                                   "%" PRIu64 " bytes at %" PRIu64
                                                   " of the data reach past their end, %" PRIu64,
                                                   tensor->size_bytes, tensor->offset, n_data));
        tensor->offset += data_at;
        tensor->data = source->bytes + tensor->offset;
    }
    return check_layout(source, data_at);
}

/* ---- header ---------------------------------------------------------------------------------- */

static enum rsrc_status read_version(struct source *source) {
    if (source->size_bytes < strlen(MAGIC) || memcmp(source->bytes, MAGIC, strlen(MAGIC)) != 0)
        return refuse(source, 0, "gguf-magic", NULL, "this is not a GGUF file");
    source->at = strlen(MAGIC);
    uint64_t version;
    if (read_number(source, 4, "its version", &version) != RSRC_OK)
        return RSRC_FAILED;
    if (version == VERSION)
        return RSRC_OK;
    if (version != 0 && (version & 0xffff) == 0)
        return refuse(source, strlen(MAGIC), "gguf-endian",
                      "convert it with gguf_convert_endian.py of the gguf package",
                      "this is a big-endian file; only little-endian ones are read");
    return refuse(
        source, strlen(MAGIC), "gguf-version", "convert the model again with a current llama.cpp",
        rsrc_arena_printf(source->arena, "version %" PRIu64 " of the format is not read, only 3",
                          version));
}

static enum rsrc_status read_counts(struct source *source) {
    const uint64_t begin = source->at;
    uint64_t n_tensors, n_values;
    if (read_number(source, 8, "the number of tensors", &n_tensors) != RSRC_OK ||
        read_number(source, 8, "the number of metadata entries", &n_values) != RSRC_OK)
        return RSRC_FAILED;
    if (n_tensors > MAX_TENSORS || n_values > MAX_VALUES ||
        n_tensors * MIN_INFO_BYTES + n_values * MIN_VALUE_BYTES > left(source))
        return refuse(source, begin, "gguf-count", "the file may be an unfinished download",
                      rsrc_arena_printf(source->arena,
                                        "%" PRIu64 " tensors and %" PRIu64
                                        " metadata entries do not fit in the file",
                                        n_tensors, n_values));
    source->gguf.n_tensors = (uint32_t)n_tensors;
    source->gguf.n_values = (uint32_t)n_values;
    return RSRC_OK;
}

/* The first part of a model in several files may have only metadata. */
static enum rsrc_status check_not_empty(const struct source *source) {
    if (source->gguf.n_tensors != 0 || rsrc_gguf_find(&source->gguf, "split.count") != NULL)
        return RSRC_OK;
    return refuse(source, TENSOR_COUNT_AT, "gguf-empty", NULL, "the file has no tensors");
}

enum rsrc_status rsrc_read_gguf(struct rsrc_diag *diag, struct rsrc_arena *arena, const char *file,
                                const uint8_t *bytes, uint64_t size_bytes, struct rsrc_gguf *out) {
    struct source source = {
        .diag = diag, .arena = arena, .file = file, .bytes = bytes, .size_bytes = size_bytes};
    if (read_version(&source) != RSRC_OK || read_counts(&source) != RSRC_OK ||
        read_values(&source) != RSRC_OK || find_alignment(&source) != RSRC_OK ||
        check_not_empty(&source) != RSRC_OK || read_infos(&source) != RSRC_OK ||
        find_data(&source) != RSRC_OK)
        return RSRC_FAILED;
    *out = source.gguf;
    return RSRC_OK;
}
