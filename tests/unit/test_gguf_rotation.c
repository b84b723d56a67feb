/* test_gguf_rotation.c - keys prism.hadamard.*: what they say of tensors, and everything that is
 * refused. */
#include <stdlib.h>

#include "gguf_file.h"
#include "reader/gguf_names.h"
#include "reader/gguf_rotation.h"
#include "reader_check.h"

#define Q "blk.0.attn_q.weight"
#define DOWN "blk.0.ffn_down.weight"
#define EMBEDDING "token_embd.weight"

/* One file; numbers below 0 and NULL: the key is left out. */
struct said {
    int version, block, tied, grouped; /* grouped 2: no bool */
    const char *transform, *axis, *mode;
    int widths[3], n_widths;
    int n_signs, sign; /* the last one */
    const char *names[3], *inverse;
    bool has_head;
    const char *problem; /* NULL: it is accepted */
};
#define WHT "normalized-sylvester-walsh-hadamard"
#define INPUT "input-last-dimension"
#define RIGHT                                                                                      \
    .version = 1, .block = 16, .tied = -1, .grouped = -1, .transform = WHT, .axis = INPUT,         \
    .mode = "explicit", .widths = {32, 64}, .n_widths = 2, .n_signs = 96, .sign = -1,              \
    .names = {Q, DOWN}, .inverse = EMBEDDING, .has_head = true

static void put_numbers(struct gguf_file *file, const char *key, const int *numbers, int n,
                        int last) {
    gguf_key(file, key, RSRC_GGUF_ARRAY);
    gguf_put(&file->values, RSRC_GGUF_I32, 4);
    gguf_put(&file->values, (uint64_t)n, 8);
    for (int i = 0; i < n; i++)
        gguf_put(&file->values,
                 (uint64_t)(numbers != NULL ? numbers[i]
                            : i + 1 == n    ? last
                                            : 1),
                 4);
}

static void put_names(struct gguf_file *file, const char *key, const char *const *names, int n) {
    gguf_key(file, key, RSRC_GGUF_ARRAY);
    gguf_put(&file->values, RSRC_GGUF_STRING, 4);
    gguf_put(&file->values, (uint64_t)n, 8);
    for (int i = 0; i < n; i++)
        gguf_put_string(&file->values, names[i]);
}

static void put_bool(struct gguf_file *file, const char *key, int value) {
    if (value < 0)
        return;
    gguf_key(file, key, value > 1 ? RSRC_GGUF_U8 : RSRC_GGUF_BOOL);
    gguf_put(&file->values, (uint64_t)value, 1);
}

static void put_text(struct gguf_file *file, const char *key, const char *text) {
    if (text != NULL)
        gguf_text(file, key, text);
}

static struct rsrc_buffer make_file(const struct said *said) {
    struct gguf_file file = {0};
    int n_names = 0;
    while (n_names < 3 && said->names[n_names] != NULL)
        n_names++;
    if (said->version >= 0)
        gguf_u32(&file, "prism.hadamard.version", (uint32_t)said->version);
    if (said->block >= 0)
        gguf_u32(&file, "prism.hadamard.block_size", (uint32_t)said->block);
    put_bool(&file, "prism.hadamard.tied_output", said->tied);
    put_bool(&file, "prism.hadamard.gdn_v_grouped", said->grouped);
    put_text(&file, "prism.hadamard.transform", said->transform);
    put_text(&file, "prism.hadamard.axis", said->axis);
    put_text(&file, "prism.hadamard.sign_mode", said->mode);
    if (said->n_widths > 0)
        put_numbers(&file, "prism.hadamard.sign_widths", said->widths, said->n_widths, 0);
    if (said->n_signs > 0)
        put_numbers(&file, "prism.hadamard.sign_values", NULL, said->n_signs, said->sign);
    put_names(&file, "prism.hadamard.weight_names", said->names, n_names);
    if (said->inverse != NULL)
        put_names(&file, "prism.hadamard.inverse_weight_names", &said->inverse, 1);
    gguf_tensor(&file, EMBEDDING, 1, 3, 32, 192);
    gguf_tensor(&file, Q, 1, 2, 32, 128);
    gguf_tensor(&file, DOWN, 1, 2, 64, 256);
    gguf_tensor(&file, "blk.0.ffn_up.weight", 1, 2, 48, 192);
    gguf_tensor(&file, "output_norm.weight", 1, 0, 32, 64);
    if (said->has_head)
        gguf_tensor(&file, "output.weight", 1, 3, 32, 192);
    return gguf_finish(&file);
}

static int compare_names(const void *a, const void *b) {
    return strcmp(((const struct rsr_tensor *)a)->name, ((const struct rsr_tensor *)b)->name);
}

static enum rsrc_status read_file(struct reader_test *test, const struct rsrc_buffer *bytes,
                                  struct rsrc_gguf *gguf, struct rsr_config *config) {
    CHECK_INT(rsrc_read_gguf(test->diag, &test->arena, "m.gguf", (const uint8_t *)bytes->data,
                             bytes->size_bytes, gguf),
              RSRC_OK);
    for (uint32_t i = 0; i < gguf->n_tensors; i++)
        rsrc_gguf_rename(&test->arena, &gguf->tensors[i], 0, 0);
    qsort(gguf->tensors, gguf->n_tensors, sizeof *gguf->tensors, compare_names);
    return rsrc_gguf_read_rotation(test->diag, &test->arena, "m.gguf", gguf, config);
}

static void check_file(const struct said *said) {
    struct reader_test test;
    struct rsrc_gguf gguf = {0};
    struct rsr_config config = {0};
    reader_test_begin(&test);
    struct rsrc_buffer bytes = make_file(said);
    const enum rsrc_status status = read_file(&test, &bytes, &gguf, &config);
    CHECK_INT(status == RSRC_OK, said->problem == NULL);
    if (status != RSRC_OK) {
        check_one_error(&test, "gguf-rotation", said->problem);
    } else {
        for (uint32_t i = 0; i < gguf.n_tensors; i++) {
            const struct rsr_tensor *tensor = &gguf.tensors[i];
            bool named = said->inverse != NULL && strcmp(tensor->stored_name, said->inverse) == 0;
            for (int k = 0; k < 3 && said->names[k] != NULL; k++)
                named |= strcmp(tensor->stored_name, said->names[k]) == 0;
            CHECK_INT(tensor->rotation != NULL, named);
            if (named) {
                CHECK_INT(tensor->rotation->cols, tensor->shape[1]);
                CHECK_INT(tensor->rotation->block, (uint32_t)said->block);
                CHECK_INT(tensor->rotation->signs != NULL, said->n_widths != 0);
                CHECK(tensor->rotation >= config.rotations &&
                      tensor->rotation < config.rotations + config.n_rotations);
            }
        }
    }
    rsrc_buffer_free(&bytes);
    reader_test_end(&test);
}

/* In initialisers later members replace earlier ones on purpose. */
#pragma GCC diagnostic ignored "-Woverride-init"
#ifdef __clang__
#pragma clang diagnostic ignored "-Winitializer-overrides"
#endif
static const struct said FILES[] = {
    {RIGHT},
    {RIGHT, .grouped = 1},
    {RIGHT, .inverse = NULL},
    {RIGHT, .names = {"output.weight"}},
    {RIGHT, .block = 32, .names = {DOWN, Q}},
    {RIGHT, .mode = "identity", .n_widths = 0, .n_signs = 0},
    {RIGHT, .version = 2, .tied = 1, .has_head = false},
    {RIGHT, .version = -1, .problem = "version"},
    {RIGHT, .version = 3, .problem = "version"},
    {RIGHT, .version = 2, .problem = "version"},
    {RIGHT, .tied = 1, .problem = "version"},
    {RIGHT, .tied = 2, .problem = "bool"},
    {RIGHT, .grouped = 2, .problem = "bool"},
    {RIGHT, .version = 2, .tied = 1, .problem = "tied_output"},
    {RIGHT, .has_head = false, .problem = "tied_output"},
    {RIGHT, .version = 2, .tied = 1, .has_head = false, .inverse = NULL, .problem = "tied_output"},
    {RIGHT, .block = -1, .problem = "block_size"},
    {RIGHT, .block = 0, .problem = "block_size"},
    {RIGHT, .block = 24, .problem = "block_size"},
    {RIGHT, .block = 1 << 17, .problem = "block_size"},
    {RIGHT, .block = 64, .problem = "width 32"},
    {RIGHT, .transform = NULL, .problem = "transform"},
    {RIGHT, .transform = "hadamard", .problem = "transform"},
    {RIGHT, .axis = "output", .problem = "axis"},
    {RIGHT, .mode = NULL, .problem = "sign_mode"},
    {RIGHT, .mode = "random", .problem = "sign_mode"},
    {RIGHT, .mode = "identity", .problem = "sign_widths"},
    {RIGHT, .n_widths = 0, .problem = "sign_widths"},
    {RIGHT, .n_widths = 1, .problem = "96 signs"},
    {RIGHT, .n_signs = 95, .problem = "width 64"},
    {RIGHT, .n_signs = 97, .problem = "97 signs"},
    {RIGHT, .sign = 0, .problem = "a sign"},
    {RIGHT, .sign = 2, .problem = "a sign"},
    {RIGHT, .widths = {32, -64}, .problem = "width -64"},
    {RIGHT, .widths = {32, 32}, .problem = "width 32"},
    {RIGHT, .widths = {32, 40}, .problem = "width 40"},
    {RIGHT, .names = {NULL}, .problem = "names no tensor"},
    {RIGHT, .names = {Q, Q}, .problem = "twice"},
    {RIGHT, .names = {"blk.7.attn_q.weight"}, .problem = "no tensor"},
    {RIGHT, .names = {"output_norm.weight"}, .problem = "no linear layer"},
    {RIGHT, .names = {EMBEDDING}, .problem = "no linear layer"},
    {RIGHT, .names = {"blk.0.ffn_up.weight"}, .problem = "48 columns"},
    {RIGHT, .inverse = Q, .names = {DOWN}, .problem = "not the embedding"},
};

int main(void) {
    for (size_t i = 0; i < sizeof FILES / sizeof *FILES; i++)
        check_file(&FILES[i]);
    return CHECK_EXIT();
}
