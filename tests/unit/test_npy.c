/* test_npy.c - what is read from the header of a NumPy file, and every reason to refuse one. */
#include "reader_check.h"

#include "reader/npy.h"

/* magic | version | length | header | n_data bytes of 1. */
static uint8_t *make_file(uint32_t major, const char *header, size_t n_data, size_t *n_bytes) {
    const size_t n_header = strlen(header), n_length = major == 1 ? 2 : 4;
    const size_t data_at = 8 + n_length + n_header;
    uint8_t *bytes = malloc(data_at + n_data);
    if (bytes == NULL)
        abort();
    memcpy(bytes, "\x93NUMPY", 6);
    bytes[6] = (uint8_t)major;
    bytes[7] = 0;
    for (size_t i = 0; i < n_length; i++)
        bytes[8 + i] = (uint8_t)(n_header >> (8 * i));
    memcpy(bytes + 8 + n_length, header, n_header);
    memset(bytes + data_at, 1, n_data);
    *n_bytes = data_at + n_data;
    return bytes;
}

#define HEADER(descr, order, shape)                                                                \
    "{'descr': " descr ", 'fortran_order': " order ", 'shape': " shape ", }"

static const struct {
    uint32_t major;
    const char *header;
    size_t n_data;
    enum rsr_dtype dtype;
    uint32_t n_dims;
    uint64_t shape[2];
} ACCEPTED[] = {
    {1, HEADER("'|i1'", "False", "(3, 5)") "      \n", 15, RSR_DTYPE_I8, 2, {3, 5}},
    {2, HEADER("'|u1'", "False", "(3, 5)") "\n", 15, RSR_DTYPE_U8, 2, {3, 5}},
    {3, HEADER("'|b1'", "False", "(3, 5)"), 15, RSR_DTYPE_U8, 2, {3, 5}},
    {1, HEADER("'<f2'", "False", "(3, 5)"), 30, RSR_DTYPE_F16, 2, {3, 5}},
    {1, HEADER("'<f4'", "False", "(3, 5)"), 60, RSR_DTYPE_F32, 2, {3, 5}},
    {1, HEADER("'<i4'", "False", "(3, 5)"), 60, RSR_DTYPE_I32, 2, {3, 5}},
    {1, HEADER("'<i8'", "False", "(3, 5)"), 120, RSR_DTYPE_I64, 2, {3, 5}},
    /* Keys in any order and any blanks, as Python would read them. */
    {1,
     "{\"shape\":(3,5,),\n\"descr\":\"|i1\",'fortran_order':False}",
     15,
     RSR_DTYPE_I8,
     2,
     {3, 5}},
    /* An array that is not a matrix is still read as a tensor; decoding refuses it. */
    {1, HEADER("'|i1'", "False", "(7,)"), 7, RSR_DTYPE_I8, 1, {7}},
    {1, HEADER("'|i1'", "False", "()"), 1, RSR_DTYPE_I8, 0, {0}},
    {1, HEADER("'|i1'", "False", "(0, 5)"), 0, RSR_DTYPE_I8, 2, {0, 5}},
};

static void test_accepts(void) {
    for (size_t i = 0; i < sizeof(ACCEPTED) / sizeof(ACCEPTED[0]); i++) {
        struct reader_test test;
        reader_test_begin(&test);
        size_t n_bytes;
        uint8_t *bytes =
            make_file(ACCEPTED[i].major, ACCEPTED[i].header, ACCEPTED[i].n_data, &n_bytes);
        struct rsr_tensor *tensors = NULL;
        uint32_t n = 0;
        CHECK(rsrc_parse_npy(test.diag, &test.arena, "a.b/c.npy", bytes, n_bytes, &tensors, &n) ==
              RSRC_OK);
        CHECK_STR(reader_test_text(&test), "");
        CHECK_INT(n, 1);
        if (n == 1) {
            CHECK_STR(tensors->name, "c");
            CHECK_STR(tensors->file, "a.b/c.npy");
            CHECK_INT(tensors->dtype, ACCEPTED[i].dtype);
            CHECK_INT(tensors->n_dims, ACCEPTED[i].n_dims);
            for (uint32_t d = 0; d < ACCEPTED[i].n_dims; d++)
                CHECK_INT(tensors->shape[d], ACCEPTED[i].shape[d]);
            CHECK_INT(tensors->size_bytes, ACCEPTED[i].n_data);
            CHECK(tensors->data == bytes + n_bytes - ACCEPTED[i].n_data);
            CHECK_INT(tensors->offset, n_bytes - ACCEPTED[i].n_data);
        }
        free(bytes);
        reader_test_end(&test);
    }
}

static const struct {
    const char *header;
    size_t n_data;
    const char *slug;
} REFUSED[] = {
    {"", 0, "npy-header"},
    {"{}", 0, "npy-header"},
    {"[]", 0, "npy-header"},
    {"{'descr': '|i1', 'shape': (1, 1)}", 1, "npy-header"},
    {"{'descr': '|i1', 'descr': '|i1'}", 1, "npy-header"},
    {"{'descr': '|i1', 'fortran_order': False, 'shape': (1, 1), 'more': 1}", 1, "npy-header"},
    {"{'descr': '|i1' 'fortran_order': False, 'shape': (1, 1)}", 1, "npy-header"},
    {"{'descr' '|i1', 'fortran_order': False, 'shape': (1, 1)}", 1, "npy-header"},
    {"{'descr': '|i1', 'fortran_order': False, 'shape': (1, 1)", 1, "npy-header"},
    {"{, 'descr': '|i1', 'fortran_order': False, 'shape': (1, 1)}", 1, "npy-header"},
    {"{'descr': '|i1', 'fortran_order': False, 'shape': (1, 1)} x", 1, "npy-header"},
    {"{'descr", 0, "npy-header"},
    {HEADER("'|i\\x31'", "False", "(1, 1)"), 1, "npy-header"},
    {HEADER("'|i1\"", "False", "(1, 1)"), 1, "npy-dtype"},
    {HEADER("'|i1\n'", "False", "(1, 1)"), 1, "npy-header"},
    {HEADER("|i1", "False", "(1, 1)"), 1, "npy-header"},
    {HEADER("'|i1'", "0", "(1, 1)"), 1, "npy-header"},
    {HEADER("'|i1'", "False", "[1, 1]"), 1, "npy-header"},
    {HEADER("'|i1'", "False", "(1)"), 1, "npy-header"},
    {HEADER("'|i1'", "False", "(,)"), 1, "npy-header"},
    {HEADER("'|i1'", "False", "(1 1)"), 1, "npy-header"},
    {HEADER("'|i1'", "False", "(-1, 1)"), 1, "npy-header"},
    {HEADER("'|i1'", "False", "(1L, 1)"), 1, "npy-header"},
    {HEADER("'|i1'", "False", "(0x1, 1)"), 1, "npy-header"},
    {HEADER("'|i1'", "False", "(1.0, 1)"), 1, "npy-header"},
    {HEADER("'|i1'", "False", "(1, 1"), 1, "npy-header"},
    {HEADER("'<f8'", "False", "(1, 1)"), 8, "npy-dtype"},
    {HEADER("'>i4'", "False", "(1, 1)"), 4, "npy-dtype"},
    {HEADER("'|O'", "False", "(1, 1)"), 8, "npy-dtype"},
    {HEADER("'|S1'", "False", "(1, 1)"), 1, "npy-dtype"},
    {HEADER("''", "False", "(1, 1)"), 1, "npy-dtype"},
    {HEADER("[('a', '|i1')]", "False", "(1, 1)"), 1, "npy-dtype"},
    {HEADER("'|i1'", "True", "(1, 1)"), 1, "npy-order"},
    {HEADER("'|i1'", "False", "(1, 1, 1, 1, 1)"), 1, "npy-shape"},
    {HEADER("'|i1'", "False", "(18446744073709551616, 1)"), 1, "npy-shape"},
    {HEADER("'|i1'", "False", "(4294967296, 4294967296)"), 1, "npy-shape"},
    {HEADER("'<i8'", "False", "(2305843009213693952, 1)"), 0, "npy-shape"},
    {HEADER("'|i1'", "False", "(3, 5)"), 14, "npy-truncated"},
    {HEADER("'|i1'", "False", "(18446744073709551615, 1)"), 15, "npy-truncated"},
    {HEADER("'|i1'", "False", "(3, 5)"), 16, "npy-trailing"},
    {HEADER("'|i1'", "False", "(0, 5)"), 1, "npy-trailing"},
};

static void check_refused(const uint8_t *bytes, size_t n_bytes, const char *slug,
                          const char *about) {
    struct reader_test test;
    reader_test_begin(&test);
    struct rsr_tensor *tensors = NULL;
    uint32_t n = 0;
    uint8_t *copy = exact_copy(bytes, n_bytes);
    CHECK(rsrc_parse_npy(test.diag, &test.arena, "m.npy", copy, n_bytes, &tensors, &n) ==
          RSRC_FAILED);
    CHECK(tensors == NULL && n == 0);
    check_one_error(&test, slug, about);
    free(copy);
    reader_test_end(&test);
}

static void test_refuses(void) {
    for (size_t i = 0; i < sizeof(REFUSED) / sizeof(REFUSED[0]); i++) {
        for (uint32_t major = 1; major <= 3; major++) {
            size_t n_bytes;
            uint8_t *bytes = make_file(major, REFUSED[i].header, REFUSED[i].n_data, &n_bytes);
            check_refused(bytes, n_bytes, REFUSED[i].slug, REFUSED[i].header);
            free(bytes);
        }
    }
}

/* A bool may only be 0 or 1: as a weight, 255 would be -1. */
static void test_bools(void) {
    size_t n_bytes;
    uint8_t *bytes = make_file(1, HEADER("'|b1'", "False", "(3, 5)"), 15, &n_bytes);
    bytes[n_bytes - 1] = 255;
    check_refused(bytes, n_bytes, "npy-bool", "255");
    bytes[n_bytes - 1] = 2;
    check_refused(bytes, n_bytes, "npy-bool", "2");
    free(bytes);
}

static void test_versions(void) {
    static const uint8_t versions[][2] = {{0, 0}, {4, 0}, {1, 1}, {255, 255}};
    size_t n_bytes;
    uint8_t *bytes = make_file(1, HEADER("'|i1'", "False", "(3, 5)"), 15, &n_bytes);
    for (size_t i = 0; i < sizeof(versions) / sizeof(versions[0]); i++) {
        memcpy(bytes + 6, versions[i], 2);
        check_refused(bytes, n_bytes, "npy-version", "a version");
    }
    free(bytes);
}

/* A file that is cut anywhere is refused; if its magic is incomplete, it is called no NumPy
 * file. */
static void test_every_cut(void) {
    for (uint32_t major = 1; major <= 3; major++) {
        size_t n_bytes;
        uint8_t *bytes = make_file(major, HEADER("'|i1'", "False", "(3, 5)"), 15, &n_bytes);
        for (size_t n = 0; n < n_bytes; n++)
            check_refused(bytes, n, n < 6 ? "npy-magic" : "npy-truncated", "a cut");
        bytes[0] = 0x92;
        check_refused(bytes, n_bytes, "npy-magic", "another magic");
        free(bytes);
    }
}

/* A header whose stated length exceeds the file. */
static void test_header_length(void) {
    size_t n_bytes;
    uint8_t *bytes = make_file(2, HEADER("'|i1'", "False", "(3, 5)"), 15, &n_bytes);
    memset(bytes + 8, 0xff, 4);
    check_refused(bytes, n_bytes, "npy-truncated", "a header of 4 GiB");
    free(bytes);
}

/* Each byte of the header is changed. An accepted tensor has the size of the file's data, and a
 * refusal is one error. */
static void test_every_byte(void) {
    size_t n_bytes;
    uint8_t *bytes = make_file(1, HEADER("'|i1'", "False", "(3, 5)"), 15, &n_bytes);
    uint32_t n_accepted = 0;
    for (size_t at = 0; at < n_bytes - 15; at++) {
        for (uint32_t value = 0; value < 256; value++) {
            struct reader_test test;
            struct rsr_tensor *tensors = NULL;
            uint32_t n = 0;
            uint8_t *copy = exact_copy(bytes, n_bytes);
            copy[at] = (uint8_t)value;
            reader_test_begin(&test);
            if (rsrc_parse_npy(test.diag, &test.arena, "m.npy", copy, n_bytes, &tensors, &n) ==
                RSRC_OK) {
                n_accepted++;
                CHECK_INT(tensors->size_bytes, 15);
                CHECK(tensors->data + tensors->size_bytes == copy + n_bytes);
                CHECK_INT(rsrc_diag_error_count(test.diag), 0);
            } else {
                CHECK_INT(rsrc_diag_error_count(test.diag), 1);
            }
            reader_test_end(&test);
            free(copy);
        }
    }
    /* Accepted are all files with the old byte, and some with equivalent blanks, digits and
     * types. */
    CHECK(n_accepted >= n_bytes - 15 && n_accepted < 2 * n_bytes);
    free(bytes);
}

int main(void) {
    test_accepts();
    test_refuses();
    test_bools();
    test_versions();
    test_every_cut();
    test_header_length();
    test_every_byte();
    return CHECK_EXIT();
}
