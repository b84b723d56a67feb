/* npy.c - the header of a NumPy file, checked, as one tensor that borrows the file.
 *
 *   "\x93NUMPY" | u8 major, u8 minor | n: little-endian u16 (major 1) or u32 | n bytes | data
 *
 * The n bytes are a Python dictionary, {'descr': '|i1', 'fortran_order': False, 'shape': (3, 4)},
 * and blanks. Only what NumPy writes is read: the three keys in any order, each once; strings
 * without escapes; a tuple of decimal numbers. Objects of Python, which NumPy can save as well, are
 * refused by their type. Source: the documentation of numpy.lib.format.
 */
#include "reader/npy.h"

#include <string.h>

#include "reader/reader.h"

#define MAGIC "\x93NUMPY"
#define MAGIC_BYTES 6u
#define VERSION_BYTES 2u
#define SUFFIX ".npy"

/* How NumPy writes a type: byte order ('|': one byte, '<': little-endian), kind, width. */
static const struct {
    const char *descr;
    enum rsr_dtype dtype;
    uint32_t width;
} DTYPES[] = {
    {"|b1", RSR_DTYPE_U8, 1},  {"|i1", RSR_DTYPE_I8, 1},  {"|u1", RSR_DTYPE_U8, 1},
    {"<i4", RSR_DTYPE_I32, 4}, {"<i8", RSR_DTYPE_I64, 8}, {"<f2", RSR_DTYPE_F16, 2},
    {"<f4", RSR_DTYPE_F32, 4},
};

enum key { KEY_DESCR, KEY_ORDER, KEY_SHAPE, KEY_COUNT };
static const char *const KEYS[KEY_COUNT] = {"descr", "fortran_order", "shape"};

/* The file being read. */
struct npy {
    struct rsrc_diag *diag;
    struct rsrc_arena *arena;
    const char *file;
    const uint8_t *bytes;
    uint64_t size_bytes;
    uint64_t at, end; /* rest of the header; the data begin at `end` */
    struct rsr_tensor tensor;
    uint32_t width;
    bool is_bool;
};

static enum rsrc_status refuse(const struct npy *npy, uint64_t offset, const char *slug,
                               const char *help, const char *problem) {
    struct rsrc_place place = {.file = npy->file, .has_offset = true, .offset = offset};
    return rsrc_refuse(npy->diag, slug, &place, help, "%s", problem);
}

static enum rsrc_status refuse_cut(const struct npy *npy, const char *problem) {
    return refuse(npy, npy->size_bytes, "npy-truncated",
                  "the file may be an unfinished download; fetch it again", problem);
}

static enum rsrc_status refuse_syntax(const struct npy *npy, const char *expected) {
    return refuse(npy, npy->at, "npy-header", "save the matrix again with numpy.save",
                  rsrc_arena_printf(npy->arena, "the header is not what NumPy writes: expected %s",
                                    expected));
}

/* ---- before the header ----------------------------------------------------------------------- */

/* Version 3 differs from 2 only in names of fields, which a matrix does not have. */
static enum rsrc_status find_header(struct npy *npy) {
    if (npy->size_bytes < MAGIC_BYTES || memcmp(npy->bytes, MAGIC, MAGIC_BYTES) != 0)
        return refuse(npy, 0, "npy-magic", "give a file that numpy.save has written",
                      "this is not a NumPy file");
    if (npy->size_bytes < MAGIC_BYTES + VERSION_BYTES)
        return refuse_cut(npy, "the file ends before its version");
    const uint32_t major = npy->bytes[MAGIC_BYTES], minor = npy->bytes[MAGIC_BYTES + 1];
    if (major < 1 || major > 3 || minor != 0)
        return refuse(npy, MAGIC_BYTES, "npy-version", "versions 1.0, 2.0 and 3.0 are read",
                      rsrc_arena_printf(npy->arena, "version %u.%u of the format is not known",
                                        major, minor));
    const uint32_t n_length = major == 1 ? 2 : 4;
    npy->at = MAGIC_BYTES + VERSION_BYTES + n_length;
    if (npy->size_bytes < npy->at)
        return refuse_cut(npy, "the file ends before the length of its header");
    uint64_t length = 0;
    for (uint32_t i = 0; i < n_length; i++)
        length |= (uint64_t)npy->bytes[MAGIC_BYTES + VERSION_BYTES + i] << (8 * i);
    if (length > npy->size_bytes - npy->at)
        return refuse_cut(
            npy, rsrc_arena_printf(
                     npy->arena, "the header claims %llu bytes and the file has %llu after it",
                     (unsigned long long)length, (unsigned long long)(npy->size_bytes - npy->at)));
    npy->end = npy->at + length;
    return RSRC_OK;
}

/* ---- the header's language ------------------------------------------------------------------- */

static void skip_blanks(struct npy *npy) {
    while (npy->at < npy->end && (npy->bytes[npy->at] == ' ' || npy->bytes[npy->at] == '\n'))
        npy->at++;
}

/* Skips blanks; then consumes `text`, or nothing. */
static bool accept(struct npy *npy, const char *text) {
    skip_blanks(npy);
    const size_t n = strlen(text);
    if (npy->end - npy->at < n || memcmp(npy->bytes + npy->at, text, n) != 0)
        return false;
    npy->at += n;
    return true;
}

static enum rsrc_status read_string(struct npy *npy, const char **out) {
    const char *quote = accept(npy, "'") ? "'" : accept(npy, "\"") ? "\"" : NULL;
    if (quote == NULL)
        return refuse_syntax(npy, "a string");
    const uint64_t begin = npy->at;
    while (npy->at < npy->end && npy->bytes[npy->at] != (uint8_t)*quote) {
        const uint8_t byte = npy->bytes[npy->at];
        if (byte < ' ' || byte > '~' || byte == '\\')
            return refuse_syntax(npy, "plain text in a string");
        npy->at++;
    }
    if (npy->at == npy->end)
        return refuse_syntax(npy, "the end of a string");
    *out =
        rsrc_arena_strndup(npy->arena, (const char *)npy->bytes + begin, (size_t)(npy->at - begin));
    npy->at++;
    return RSRC_OK;
}

static enum rsrc_status read_descr(struct npy *npy) {
    static const char help[] = "int8, uint8, bool, int32, int64, float16 and float32 are read, "
                               "little-endian: save m.astype(numpy.int8)";
    skip_blanks(npy);
    const uint64_t place = npy->at;
    if (accept(npy, "["))
        return refuse(npy, place, "npy-dtype", help, "arrays of records are not matrices");
    const char *descr;
    if (read_string(npy, &descr) != RSRC_OK)
        return RSRC_FAILED;
    for (size_t i = 0; i < sizeof(DTYPES) / sizeof(DTYPES[0]); i++) {
        if (strcmp(descr, DTYPES[i].descr) == 0) {
            npy->tensor.dtype = DTYPES[i].dtype;
            npy->width = DTYPES[i].width;
            npy->is_bool = i == 0;
            return RSRC_OK;
        }
    }
    return refuse(
        npy, place, "npy-dtype", help,
        rsrc_arena_printf(npy->arena, "type '%s' is not supported", rsrc_quote(npy->arena, descr)));
}

static enum rsrc_status read_order(struct npy *npy) {
    skip_blanks(npy);
    const uint64_t place = npy->at;
    if (accept(npy, "False"))
        return RSRC_OK;
    if (accept(npy, "True"))
        return refuse(npy, place, "npy-order", "save numpy.ascontiguousarray(m)",
                      "the matrix is stored column by column (Fortran order); only rows are read");
    return refuse_syntax(npy, "True or False");
}

static enum rsrc_status read_dimension(struct npy *npy, uint64_t *out) {
    const uint64_t begin = npy->at;
    uint64_t value = 0;
    for (; npy->at < npy->end; npy->at++) {
        const uint32_t digit = (uint32_t)npy->bytes[npy->at] - '0';
        if (digit > 9)
            break;
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, digit, &value))
            return refuse(npy, begin, "npy-shape", NULL, "a dimension does not fit in 64 bits");
    }
    if (npy->at == begin)
        return refuse_syntax(npy, "a dimension");
    *out = value;
    return RSRC_OK;
}

/* (), (3,), (3, 4) or (3, 4,): (3) is a number in Python. */
static enum rsrc_status read_shape(struct npy *npy) {
    struct rsr_tensor *tensor = &npy->tensor;
    if (!accept(npy, "("))
        return refuse_syntax(npy, "a tuple");
    const uint64_t place = npy->at;
    bool more = true;
    while (!accept(npy, ")")) {
        if (!more)
            return refuse_syntax(npy, "',' or ')'");
        if (tensor->n_dims == RSRC_MAX_DIMS)
            return refuse(npy, place, "npy-shape", "a matrix has two", "too many dimensions");
        if (read_dimension(npy, &tensor->shape[tensor->n_dims++]) != RSRC_OK)
            return RSRC_FAILED;
        more = accept(npy, ",");
    }
    if (tensor->n_dims == 1 && !more)
        return refuse_syntax(npy, "',' in a tuple of one number");
    return RSRC_OK;
}

static enum rsrc_status read_pair(struct npy *npy, bool seen[KEY_COUNT]) {
    static enum rsrc_status (*const READERS[KEY_COUNT])(struct npy *) = {
        [KEY_DESCR] = read_descr, [KEY_ORDER] = read_order, [KEY_SHAPE] = read_shape};
    const char *name;
    if (read_string(npy, &name) != RSRC_OK)
        return RSRC_FAILED;
    uint32_t key = 0;
    while (key < KEY_COUNT && strcmp(KEYS[key], name) != 0)
        key++;
    if (key == KEY_COUNT || seen[key])
        return refuse_syntax(npy, "descr, fortran_order and shape, each once");
    seen[key] = true;
    if (!accept(npy, ":"))
        return refuse_syntax(npy, "':'");
    return READERS[key](npy);
}

static enum rsrc_status read_header(struct npy *npy) {
    bool seen[KEY_COUNT] = {false};
    if (!accept(npy, "{"))
        return refuse_syntax(npy, "a dictionary");
    bool more = true;
    while (!accept(npy, "}")) {
        if (!more)
            return refuse_syntax(npy, "',' or '}'");
        if (read_pair(npy, seen) != RSRC_OK)
            return RSRC_FAILED;
        more = accept(npy, ",");
    }
    for (uint32_t key = 0; key < KEY_COUNT; key++)
        if (!seen[key])
            return refuse_syntax(npy, rsrc_arena_printf(npy->arena, "the key '%s'", KEYS[key]));
    skip_blanks(npy);
    return npy->at == npy->end ? RSRC_OK : refuse_syntax(npy, "nothing after the dictionary");
}

/* ---- the data -------------------------------------------------------------------------------- */

static enum rsrc_status find_data(struct npy *npy) {
    struct rsr_tensor *tensor = &npy->tensor;
    uint64_t size = npy->width;
    for (uint32_t d = 0; d < tensor->n_dims; d++)
        if (__builtin_mul_overflow(size, tensor->shape[d], &size))
            return refuse(npy, npy->end, "npy-shape", NULL,
                          "the product of the dimensions does not fit in 64 bits");
    const uint64_t there = npy->size_bytes - npy->end;
    if (there < size)
        return refuse_cut(
            npy, rsrc_arena_printf(npy->arena, "shape and type make %llu bytes, the file has %llu",
                                   (unsigned long long)size, (unsigned long long)there));
    if (there > size)
        return refuse(npy, npy->end + size, "npy-trailing", "a file holds one matrix",
                      rsrc_arena_printf(npy->arena, "%llu bytes after the matrix",
                                        (unsigned long long)(there - size)));
    tensor->offset = npy->end;
    tensor->size_bytes = size;
    tensor->data = npy->bytes + npy->end;
    return RSRC_OK;
}

/* A byte 255 is -1 in uint8, and illegal in bool. */
static enum rsrc_status check_bools(const struct npy *npy) {
    for (uint64_t i = 0; npy->is_bool && i < npy->tensor.size_bytes; i++)
        if (npy->tensor.data[i] > 1)
            return refuse(npy, npy->tensor.offset + i, "npy-bool", "the file may be damaged",
                          "a bool is neither 0 nor 1");
    return RSRC_OK;
}

/* "weights" of "some/folder/weights.npy". */
static const char *stem(struct rsrc_arena *arena, const char *path) {
    const char *slash = strrchr(path, '/');
    const char *last = slash == NULL ? path : slash + 1;
    const size_t n = strlen(last), suffix = strlen(SUFFIX);
    if (n > suffix && strcmp(last + n - suffix, SUFFIX) == 0)
        return rsrc_arena_strndup(arena, last, n - suffix);
    return rsrc_arena_strdup(arena, last);
}

enum rsrc_status rsrc_parse_npy(struct rsrc_diag *diag, struct rsrc_arena *arena, const char *name,
                                const uint8_t *bytes, uint64_t size_bytes,
                                struct rsr_tensor **tensors, uint32_t *n_tensors) {
    struct npy npy = {.diag = diag,
                      .arena = arena,
                      .file = rsrc_arena_strdup(arena, name),
                      .bytes = bytes,
                      .size_bytes = size_bytes};
    npy.tensor.name = stem(arena, npy.file);
    npy.tensor.file = npy.file;
    if (find_header(&npy) != RSRC_OK || read_header(&npy) != RSRC_OK ||
        find_data(&npy) != RSRC_OK || check_bools(&npy) != RSRC_OK)
        return RSRC_FAILED;
    struct rsr_tensor *list = RSRC_NEW(arena, struct rsr_tensor);
    *list = npy.tensor;
    *tensors = list;
    *n_tensors = 1;
    return RSRC_OK;
}
