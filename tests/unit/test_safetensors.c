/* test_safetensors.c - what is read from a safetensors header, and every reason to refuse one. */
#include "reader_check.h"

/* Makes length | header | n_data bytes counting up from 0. *n_bytes receives the size of all
 * three. */
static uint8_t *make_file(const char *header, size_t n_data, size_t *n_bytes) {
    size_t n_header = strlen(header);
    uint8_t *bytes = malloc(8 + n_header + n_data);
    if (bytes == NULL) {
        abort();
    }
    for (uint32_t i = 0; i < 8; i++) {
        bytes[i] = (uint8_t)((uint64_t)n_header >> (8 * i));
    }
    memcpy(bytes + 8, header, n_header);
    for (size_t i = 0; i < n_data; i++) {
        bytes[8 + n_header + i] = (uint8_t)i;
    }
    *n_bytes = 8 + n_header + n_data;
    return bytes;
}

static void test_accepts(void) {
    static const char header[] =
        "{\"__metadata__\":{\"format\":\"pt\"},"
        "\"b.weight\":{\"dtype\":\"BF16\",\"shape\":[2,3],\"data_offsets\":[4,16]},"
        "\"a.weight\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
        "\"scalar\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[16,20]},"
        "\"empty\":{\"dtype\":\"I64\",\"shape\":[0,7],\"data_offsets\":[4,4]}}   ";
    struct reader_test test;
    reader_test_begin(&test);
    size_t n_bytes;
    uint8_t *bytes = make_file(header, 20, &n_bytes);
    struct rsr_tensor *tensors = NULL;
    uint32_t n = 0;
    CHECK(rsrc_parse_safetensors(test.diag, &test.arena, "m.safetensors", bytes, n_bytes, &tensors,
                                 &n) == RSRC_OK);
    CHECK_STR(reader_test_text(&test), "");
    CHECK_INT(n, 4);
    if (n == 4) {
        static const char *const names[] = {"a.weight", "b.weight", "empty", "scalar"};
        for (uint32_t i = 0; i < 4; i++) {
            CHECK_STR(tensors[i].name, names[i]);
            CHECK_STR(tensors[i].file, "m.safetensors");
            CHECK(tensors[i].data == bytes + tensors[i].offset);
            CHECK(!tensors[i].consumed);
        }
        CHECK_INT(tensors[0].dtype, RSR_DTYPE_U8);
        CHECK_INT(tensors[0].data[0], 0);
        CHECK_INT(tensors[1].dtype, RSR_DTYPE_BF16);
        CHECK_INT(tensors[1].n_dims, 2);
        CHECK_INT(tensors[1].shape[0], 2);
        CHECK_INT(tensors[1].shape[1], 3);
        CHECK_INT(tensors[1].size_bytes, 12);
        CHECK_INT(tensors[1].data[0], 4);
        CHECK_INT(tensors[1].offset, 8 + sizeof(header) - 1 + 4);
        CHECK_INT(tensors[2].size_bytes, 0);
        CHECK_INT(tensors[3].n_dims, 0);
        CHECK_INT(tensors[3].size_bytes, 4);
    }
    free(bytes);
    reader_test_end(&test);
}

#define ENTRY(dtype, shape, offsets)                                                               \
    "{\"t\":{\"dtype\":" dtype ",\"shape\":" shape ",\"data_offsets\":" offsets "}}"

static const struct {
    const char *header;
    size_t n_data;
    const char *slug;
} REFUSED[] = {
    {"", 0, "safetensors-syntax"},
    {"{", 0, "safetensors-syntax"},
    {"\xff{}", 0, "safetensors-syntax"},
    {"[]", 0, "safetensors-entry"},
    {"{}", 0, "safetensors-empty"},
    {"{\"__metadata__\":{}}", 0, "safetensors-empty"},
    {"{\"__metadata__\":3}", 0, "safetensors-metadata"},
    {"{\"t\":3}", 0, "safetensors-entry"},
    {"{\"t\":{}}", 0, "safetensors-entry"},
    {ENTRY("3", "[1]", "[0,4]"), 4, "safetensors-entry"},
    {ENTRY("\"F32\"", "4", "[0,4]"), 4, "safetensors-entry"},
    {ENTRY("\"F32\"", "[1]", "4"), 4, "safetensors-entry"},
    {ENTRY("\"F32\"", "[1]", "[0,4,8]"), 4, "safetensors-entry"},
    {ENTRY("\"F32\"", "[1]", "[0,4.0]"), 4, "safetensors-entry"},
    {ENTRY("\"F64\"", "[1]", "[0,8]"), 8, "safetensors-dtype"},
    {ENTRY("\"f32\"", "[1]", "[0,4]"), 4, "safetensors-dtype"},
    {ENTRY("\"U8\"", "[1,1,1,1,1]", "[0,1]"), 1, "safetensors-shape"},
    {ENTRY("\"U8\"", "[-1]", "[0,1]"), 1, "safetensors-shape"},
    {ENTRY("\"U8\"", "[\"1\"]", "[0,1]"), 1, "safetensors-shape"},
    {ENTRY("\"F32\"", "[4294967296,4294967296]", "[0,0]"), 0, "safetensors-shape"},
    {ENTRY("\"F32\"", "[4611686018427387904]", "[0,0]"), 0, "safetensors-shape"},
    {ENTRY("\"U8\"", "[4]", "[4,0]"), 8, "safetensors-offsets"},
    {ENTRY("\"U8\"", "[4]", "[-4,0]"), 8, "safetensors-offsets"},
    {ENTRY("\"U8\"", "[4]", "[0,4]"), 3, "safetensors-truncated"},
    {ENTRY("\"U8\"", "[4]", "[9223372036854775803,9223372036854775807]"), 3,
     "safetensors-truncated"},
    {ENTRY("\"U8\"", "[4]", "[0,3]"), 4, "safetensors-size"},
    {ENTRY("\"BF16\"", "[4]", "[0,4]"), 4, "safetensors-size"},
    {ENTRY("\"U8\"", "[4]", "[1,5]"), 5, "safetensors-hole"},
    {ENTRY("\"U8\"", "[4]", "[0,4]"), 5, "safetensors-trailing"},
    {"{\"t\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
     "\"u\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[2,6]}}",
     6, "safetensors-overlap"},
    {"{\"t\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
     "\"u\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}",
     4, "safetensors-overlap"},
    {"{\"t\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
     "\"t\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[4,8]}}",
     8, "safetensors-duplicate"},
};

/* Returns what was printed through `test`. The caller ends `test`. */
static void parse_refused(struct reader_test *test, const uint8_t *bytes, size_t n_bytes,
                          const char *slug, const char *about) {
    struct rsr_tensor *tensors = NULL;
    uint32_t n = 99;
    uint8_t *copy = exact_copy(bytes, n_bytes);
    reader_test_begin(test);
    CHECK(rsrc_parse_safetensors(test->diag, &test->arena, "m.safetensors", copy, n_bytes, &tensors,
                                 &n) == RSRC_FAILED);
    check_one_error(test, slug, about);
    CHECK(tensors == NULL && n == 99);
    free(copy);
}

static void test_refuses(void) {
    struct reader_test test;
    for (size_t i = 0; i < sizeof(REFUSED) / sizeof(REFUSED[0]); i++) {
        size_t n_bytes;
        uint8_t *bytes = make_file(REFUSED[i].header, REFUSED[i].n_data, &n_bytes);
        parse_refused(&test, bytes, n_bytes, REFUSED[i].slug, REFUSED[i].header);
        reader_test_end(&test);
        free(bytes);
    }
}

static void test_refuses_lengths(void) {
    static const struct {
        uint8_t bytes[10];
        size_t n_bytes;
        const char *slug;
    } cases[] = {
        {{0}, 0, "safetensors-truncated"},
        {{2, 0, 0, 0, 0, 0, 0}, 7, "safetensors-truncated"},
        {{3, 0, 0, 0, 0, 0, 0, 0, '{', '}'}, 10, "safetensors-truncated"},
        {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, '{', '}'}, 10, "safetensors-header-size"},
        {{0x01, 0xe1, 0xf5, 0x05, 0, 0, 0, 0, '{', '}'}, 10, "safetensors-header-size"},
    };
    struct reader_test test;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        parse_refused(&test, cases[i].bytes, cases[i].n_bytes, cases[i].slug, "a length");
        reader_test_end(&test);
    }
}

/* Every prefix of a good file is refused: because it is truncated or, where only data is cut,
 * because of the offsets. */
static void test_refuses_prefixes(void) {
    struct reader_test test;
    size_t n_bytes;
    uint8_t *bytes = make_file(ENTRY("\"U8\"", "[4]", "[0,4]"), 4, &n_bytes);
    for (size_t n = 0; n < n_bytes; n++) {
        parse_refused(&test, bytes, n, "safetensors-truncated", "a prefix");
        reader_test_end(&test);
    }
    free(bytes);
}

/* Nesting is refused before the recursive parser sees it; so are headers made of tiny
 * containers. */
static void test_refuses_hostile_json(void) {
    static char deep[200001], wide[3 * 100000 + 8];
    struct reader_test test;
    size_t n_bytes;
    memset(deep, '[', sizeof(deep) - 1);
    uint8_t *bytes = make_file(deep, 0, &n_bytes);
    parse_refused(&test, bytes, n_bytes, "safetensors-depth", "deep");
    /* The diagnostic's place is the file offset of the first bracket that is too deep. */
    CHECK(strstr(reader_test_text(&test), "m.safetensors:0x48: ") != NULL);
    reader_test_end(&test);
    free(bytes);

    for (size_t i = 0; i < 100000; i++) {
        memcpy(wide + 3 * i, "{},", 3);
    }
    bytes = make_file(wide, 0, &n_bytes);
    parse_refused(&test, bytes, n_bytes, "safetensors-too-large", "wide");
    reader_test_end(&test);
    free(bytes);
}

/* A name with control bytes is printed on one line, escaped, and the tensor is named. */
static void test_hostile_name(void) {
    struct reader_test test;
    size_t n_bytes;
    uint8_t *bytes = make_file("{\"x\\u001b[31m\\nerror: y\":{\"dtype\":\"evil\\nerror: z\","
                               "\"shape\":[],\"data_offsets\":[0,0]}}",
                               0, &n_bytes);
    parse_refused(&test, bytes, n_bytes, "safetensors-dtype", "hostile");
    const char *text = reader_test_text(&test);
    CHECK(strchr(text, 0x1b) == NULL);
    CHECK(strstr(text, "\nerror") == NULL);
    CHECK(strstr(text, "x\\x1b[31m\\x0aerror: y") != NULL);
    reader_test_end(&test);
    free(bytes);
}

/* A header full of bad entries does not print one line for each. */
static void test_limits_reports(void) {
    char header[4096] = "{";
    size_t n = 1, n_bytes;
    for (int i = 0; i < 100; i++) {
        n += (size_t)snprintf(header + n, sizeof(header) - n, "%s\"t%d\":0", i == 0 ? "" : ",", i);
    }
    snprintf(header + n, sizeof(header) - n, "}");
    struct reader_test test;
    struct rsr_tensor *tensors;
    uint32_t n_tensors;
    uint8_t *bytes = make_file(header, 0, &n_bytes);
    reader_test_begin(&test);
    CHECK(rsrc_parse_safetensors(test.diag, &test.arena, "m.safetensors", bytes, n_bytes, &tensors,
                                 &n_tensors) == RSRC_FAILED);
    CHECK_INT(rsrc_diag_error_count(test.diag), 16);
    reader_test_end(&test);
    free(bytes);
}

int main(void) {
    test_accepts();
    test_refuses();
    test_refuses_lengths();
    test_refuses_prefixes();
    test_refuses_hostile_json();
    test_hostile_name();
    test_limits_reports();
    return CHECK_EXIT();
}
