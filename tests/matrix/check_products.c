/* check_products.c - calls every function of a library of matrices and compares the results with
 * sums in 64 bits over the bytes of the file that it was compiled from.
 *
 *     check_products <file.safetensors> <library.so> <stem> [i8] [f32]
 *
 * The file is of rsr-mkmodel --matrix: int8 tensors matrix.0, matrix.1 ... Vectors are at odd
 * addresses, with other memory between them, and batches are cut into parts; the test checks that
 * the other memory is unchanged. Floats are first integers, whose sums are exact, then numbers of
 * many magnitudes: every batch and part must give the same bits, within COLS * 2^-24 * sum |W x|.
 * It prints a hash of these bits, by which libraries for different targets are compared.
 */
#include <dlfcn.h>
#include <inttypes.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_VECTORS 131u
#define GUARD 0xA5

struct matrix {
    const int8_t *w;
    uint32_t rows, cols;
    char name[64]; /* of functions: "mats_matrix_0" */
};

/* x and y are int8_t and int32_t, or float. */
typedef int one_fn(const void *x, void *y);
typedef int batch_fn(const void *x, size_t ldx, void *y, size_t ldy, uint32_t n);
typedef int part_fn(const void *x, size_t ldx, void *y, size_t ldy, uint32_t n, uint32_t part,
                    uint32_t n_parts);

struct functions {
    one_fn *one;
    batch_fn *batch;
    part_fn *part;
    size_t x_bytes; /* of an element */
};

static unsigned n_failed;
static uint64_t bits_hash = 0xcbf29ce484222325u; /* FNV-1a */
static uint64_t seed = 88172645463325252u;

static uint64_t next_random(void) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

#define CHECK(holds, ...)                                                                          \
    do {                                                                                           \
        if (!(holds)) {                                                                            \
            if (n_failed++ < 10) {                                                                 \
                printf("line %d: %s: ", __LINE__, #holds);                                         \
                printf(__VA_ARGS__);                                                               \
                printf("\n");                                                                      \
            }                                                                                      \
        }                                                                                          \
    } while (0)

static void *find(void *library, const char *name, const char *suffix) {
    char symbol[256];
    snprintf(symbol, sizeof symbol, "%s%s", name, suffix);
    void *function = dlsym(library, symbol);
    if (function == NULL) {
        printf("no %s\n", symbol);
        exit(1);
    }
    return function;
}

static struct functions find_functions(void *library, const char *name, const char *input) {
    char base[128], batch[128], part[128];
    snprintf(base, sizeof base, "_%s", input);
    snprintf(batch, sizeof batch, "_%s_batch", input);
    snprintf(part, sizeof part, "_%s_part", input);
    struct functions f = {.x_bytes = strcmp(input, "f32") == 0 ? 4 : 1};
    *(void **)&f.one = find(library, name, base);
    *(void **)&f.batch = find(library, name, batch);
    *(void **)&f.part = find(library, name, part);
    return f;
}

/* The vectors of a batch, ld elements apart. */
struct vectors {
    uint8_t *memory, *x, *y;
    size_t ldx, ldy, y_bytes;
};

static struct vectors make_vectors(const struct matrix *m, size_t x_bytes) {
    struct vectors v = {.ldx = m->cols + 3u, .ldy = m->rows + 2u};
    const size_t x_size = MAX_VECTORS * v.ldx * x_bytes;
    v.y_bytes = MAX_VECTORS * v.ldy * 4;
    v.memory = malloc(x_size + v.y_bytes + 256);
    v.y = v.memory + 4;
    v.x = v.memory + (v.y_bytes + 64) / 64 * 64 + 64 + (x_bytes == 1 ? 1 : 4);
    return v;
}

static int64_t integer_at(const struct vectors *v, size_t x_bytes, uint32_t t, uint32_t c) {
    const uint8_t *at = v->x + (t * v->ldx + c) * x_bytes;
    if (x_bytes == 1)
        return (int8_t)*at;
    float x;
    memcpy(&x, at, sizeof x);
    return (int64_t)x;
}

/* Bytes between the vectors are set, too: 0xff is -1, and NaN. */
static void fill_integers(const struct matrix *m, struct vectors *v, size_t x_bytes) {
    memset(v->x, 0xff, MAX_VECTORS * v->ldx * x_bytes);
    for (uint32_t t = 0; t < MAX_VECTORS; t++)
        for (uint32_t c = 0; c < m->cols; c++) {
            const int8_t value = t == 0 ? -128 : t == 1 ? 127 : (int8_t)next_random();
            const float real = value;
            memcpy(v->x + (t * v->ldx + c) * x_bytes,
                   x_bytes == 1 ? (const void *)&value : (const void *)&real, x_bytes);
        }
}

static void check_sums(const struct matrix *m, const struct vectors *v, size_t x_bytes, uint32_t n,
                       const char *what) {
    uint32_t guard;
    memset(&guard, GUARD, sizeof guard);
    for (uint32_t t = 0; t < MAX_VECTORS; t++)
        for (uint32_t r = 0; r < v->ldy; r++) {
            uint32_t bits, want = guard;
            memcpy(&bits, v->y + (t * v->ldy + r) * 4, sizeof bits);
            if (t < n && r < m->rows) {
                int64_t sum = 0;
                for (uint32_t c = 0; c < m->cols; c++)
                    sum += m->w[(size_t)r * m->cols + c] * integer_at(v, x_bytes, t, c);
                const int32_t whole = (int32_t)sum;
                const float real = (float)sum;
                memcpy(&want, x_bytes == 1 ? (const void *)&whole : (const void *)&real,
                       sizeof want);
            }
            CHECK(bits == want, "%s, %s, vector %u of %u, row %u: %08x, not %08x", m->name, what, t,
                  n, r, bits, want);
        }
}

static void run_parts(const struct matrix *m, const struct functions *f, struct vectors *v,
                      uint32_t n, uint32_t n_parts) {
    memset(v->y, GUARD, v->y_bytes);
    for (uint32_t part = n_parts; part-- > 0;) {
        const int status = f->part(v->x, v->ldx, v->y, v->ldy, n, part, n_parts);
        CHECK(status == 0, "%s: %d", m->name, status);
    }
}

static void check_integers(const struct matrix *m, const struct functions *f) {
    static const uint32_t batches[] = {0, 1, 2, 8, 9, MAX_VECTORS};
    struct vectors v = make_vectors(m, f->x_bytes);
    fill_integers(m, &v, f->x_bytes);
    memset(v.y, GUARD, v.y_bytes);
    CHECK(f->one(v.x, v.y) == 0, "%s", m->name);
    check_sums(m, &v, f->x_bytes, 1, "alone");
    for (size_t i = 0; i < sizeof batches / sizeof *batches; i++) {
        memset(v.y, GUARD, v.y_bytes);
        CHECK(f->batch(v.x, v.ldx, v.y, v.ldy, batches[i]) == 0, "%s", m->name);
        check_sums(m, &v, f->x_bytes, batches[i], "batch");
    }
    run_parts(m, f, &v, 3, 3);
    check_sums(m, &v, f->x_bytes, 3, "3 parts");
    run_parts(m, f, &v, 20, 1000);
    check_sums(m, &v, f->x_bytes, 20, "1000 parts");

    memset(v.y, GUARD, v.y_bytes);
    const int bad[] = {f->part(v.x, v.ldx, v.y, v.ldy, 2, 3, 3),
                       f->one(NULL, v.y),
                       f->one(v.x, NULL),
                       f->batch(v.x, m->cols - 1u, v.y, v.ldy, 2),
                       f->batch(v.x, v.ldx, v.y, m->rows - 1u, 2),
                       f->part(v.x, v.ldx, v.y, v.ldy, 2, 0, 0)};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(bad[i] == 3, "%s: bad call %zu gave %d", m->name, i, bad[i]);
    check_sums(m, &v, f->x_bytes, 0, "bad calls");
    free(v.memory);
}

static float y_at(const struct vectors *v, uint32_t t, uint32_t r) {
    float y;
    memcpy(&y, v->y + (t * v->ldy + r) * 4, sizeof y);
    return y;
}

/* Checks |error| <= n u sum |w x|. */
static void check_bound(const struct matrix *m, const struct vectors *v) {
    for (uint32_t t = 0; t < MAX_VECTORS; t++)
        for (uint32_t r = 0; r < m->rows; r++) {
            double exact = 0, magnitude = 0;
            for (uint32_t c = 0; c < m->cols; c++) {
                float x;
                memcpy(&x, v->x + (t * v->ldx + c) * 4, sizeof x);
                const double term = m->w[(size_t)r * m->cols + c] * (double)x;
                exact += term;
                magnitude += fabs(term);
            }
            const double error = fabs(y_at(v, t, r) - exact);
            CHECK(error <= m->cols * 0x1p-24 * magnitude, "%s, vector %u, row %u: off by %g",
                  m->name, t, r, error);
        }
}

static void check_floats(const struct matrix *m, const struct functions *f) {
    struct vectors v = make_vectors(m, f->x_bytes);
    for (size_t i = 0; i < MAX_VECTORS * v.ldx; i++) {
        const uint64_t r = next_random();
        const float x = ldexpf((float)(int32_t)(r >> 32) * 0x1p-31f, (int)(r >> 8 & 15) - 8);
        memcpy(v.x + 4 * i, &x, sizeof x);
    }
    memset(v.y, GUARD, v.y_bytes);
    CHECK(f->batch(v.x, v.ldx, v.y, v.ldy, MAX_VECTORS) == 0, "%s", m->name);
    check_bound(m, &v);
    for (size_t i = 0; i < v.y_bytes; i++)
        bits_hash = (bits_hash ^ v.y[i]) * 0x100000001b3u;
    uint8_t *first = malloc(v.y_bytes);
    memcpy(first, v.y, v.y_bytes);
    run_parts(m, f, &v, MAX_VECTORS, 5);
    CHECK(memcmp(v.y, first, v.y_bytes) == 0, "%s: other bits in 5 parts", m->name);
    memset(v.y, GUARD, v.y_bytes);
    float *y = malloc(m->rows * sizeof *y);
    for (uint32_t t = 0; t < MAX_VECTORS; t++) {
        CHECK(f->one(v.x + t * v.ldx * 4, y) == 0, "%s", m->name);
        memcpy(v.y + t * v.ldy * 4, y, m->rows * sizeof *y);
    }
    CHECK(memcmp(v.y, first, v.y_bytes) == 0, "%s: other bits alone", m->name);
    free(y);
    free(first);
    free(v.memory);
}

static uint8_t *read_file(const char *path) {
    FILE *file = fopen(path, "rb");
    if (file == NULL || fseek(file, 0, SEEK_END) != 0)
        exit(1);
    const long size = ftell(file);
    uint8_t *bytes = calloc(1, (size_t)size + 1);
    rewind(file);
    if (bytes == NULL || fread(bytes, 1, (size_t)size, file) != (size_t)size)
        exit(1);
    fclose(file);
    return bytes;
}

/* The n-th tensor of the file. */
static int find_matrix(const uint8_t *file, const char *stem, unsigned n, struct matrix *out) {
    uint64_t header_bytes;
    memcpy(&header_bytes, file, sizeof header_bytes);
    char key[32];
    snprintf(key, sizeof key, "\"matrix.%u\":", n);
    const char *at = strstr((const char *)file + 8, key);
    unsigned long begin;
    if (at == NULL ||
        sscanf(at + strlen(key), "{\"dtype\":\"I8\",\"shape\":[%u,%u],\"data_offsets\":[%lu,",
               &out->rows, &out->cols, &begin) != 3)
        return 0;
    out->w = (const int8_t *)file + 8 + header_bytes + begin;
    snprintf(out->name, sizeof out->name, "%s_matrix_%u", stem, n);
    return 1;
}

int main(int argc, char **argv) {
    if (argc < 5)
        return 2;
    const uint8_t *file = read_file(argv[1]);
    void *library = dlopen(argv[2], RTLD_NOW);
    if (library == NULL) {
        printf("%s\n", dlerror());
        return 1;
    }
    struct matrix m;
    unsigned n = 0;
    for (; find_matrix(file, argv[3], n, &m); n++)
        for (int i = 4; i < argc; i++) {
            const struct functions f = find_functions(library, m.name, argv[i]);
            check_integers(&m, &f);
            if (f.x_bytes == 4)
                check_floats(&m, &f);
        }
    printf("%u matrices, %u failures, bits of sums of floats: %016" PRIx64 "\n", n, n_failed,
           bits_hash);
    return n == 0 || n_failed != 0;
}
