/* The page pool alone, and sequences as its users: sharing pages, copying on write, giving back. */
#include <math.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "check.h"
#include "fake_module.h"
#include "walk/crew.h"

static const struct rsr_hyper hyper = {.n_layers = 3, .n_kv_heads = 2, .head_dim = 12};

static struct rsr_kv_format format_of(enum rsr_kv_type type, bool losses) {
    return rsr_kv_format_of(type, hyper.head_dim, losses, rsr_ops_get(RSR_OPS_GENERIC));
}

/* n pages, however much memory the machine has */
#define PAGES(n) (&(const struct rsr_kv_size){n, UINT64_MAX, false, false, NULL})

static void test_counts(void) {
    struct rsr_kv_pool pool;
    CHECK_INT(rsr_kv_pool_create(&pool, 3, NULL), RSR_OK);
    const uint32_t a = rsr_kv_page_take(&pool), b = rsr_kv_page_take(&pool);
    const uint32_t c = rsr_kv_page_take(&pool);
    CHECK(a < 3 && b < 3 && c < 3 && a != b && b != c && a != c);
    CHECK_INT(rsr_kv_page_take(&pool), RSR_NO_PAGE);
    CHECK(!rsr_kv_page_is_shared(&pool, b));
    rsr_kv_page_share(&pool, b);
    CHECK(rsr_kv_page_is_shared(&pool, b));
    rsr_kv_page_release(&pool, b, false);
    CHECK_INT(pool.n_free, 0);
    rsr_kv_page_release(&pool, b, false);
    CHECK_INT(pool.n_free, 1);
    CHECK_INT(rsr_kv_page_take(&pool), b);
    rsr_kv_page_release(&pool, a, false);
    rsr_kv_page_release(&pool, b, true);
    rsr_kv_page_release(&pool, c, true);
    CHECK_INT(pool.n_warm, 1);
    CHECK_INT(rsr_kv_page_take(&pool), a); /* which has memory */
    CHECK_INT(pool.n_warm, 0);
    CHECK(rsr_kv_page_take(&pool) + rsr_kv_page_take(&pool) == b + c);
    rsr_kv_pool_destroy(&pool);
}

/* A pool's memory can be used, and is given back. */
static void test_mapping(void) {
    struct rsr_kv_memory pool;
    const struct rsr_kv_format format = format_of(RSR_KV_F32, false);
    CHECK_INT(format.row_floats, 16);
    CHECK_INT(rsr_kv_memory_create(&pool, &format, &hyper, 0, PAGES(3), NULL), RSR_OK);
    CHECK_INT(pool.page_bytes, 3 * 2 * 2 * 64 * 16 * 4);
    char *memory = pool.memory;
    const uint64_t n_bytes = 3 * pool.page_bytes;
    unsigned char resident;
    CHECK_INT(mincore(memory, 1, &resident), 0);
    rsr_kv_memory_destroy(&pool);
    CHECK(mincore(memory, 1, &resident) != 0);
    CHECK(mincore(memory + (n_bytes - 1) / 4096 * 4096, 1, &resident) != 0);
}

/* Rows, losses and sidecars of different (page, layer, head) do not overlap, stay in the pool, and
 * copying takes exactly the tokens asked for, and no sidecar. */
static void test_rows(enum rsr_kv_type type, bool losses, uint32_t sidecar_bytes) {
    static const uint32_t row_bytes[] = {64, 32, 32, 20};
    const struct rsr_kv_format format = format_of(type, losses);
    const uint32_t loss_bytes = losses && type != RSR_KV_F32 ? 8 : 0;
    struct rsr_kv_memory pool;
    CHECK_INT(format.row_bytes, row_bytes[type]);
    CHECK_INT(rsr_kv_memory_create(&pool, &format, &hyper, sidecar_bytes, PAGES(2), NULL), RSR_OK);
    CHECK_INT(pool.page_bytes, 3 * 2 * (64 * (2 * row_bytes[type] + loss_bytes) + sidecar_bytes));
    const size_t n = (size_t)RSR_PAGE_TOKENS * format.row_bytes;
    for (uint32_t i = 0; i < 12; i++) {
        const struct rsr_kv_rows rows = rsr_kv_memory_rows(&pool, i / 6, i / 2 % 3, i % 2);
        char *sidecar = rsr_kv_memory_sidecar(&pool, i / 6, i / 2 % 3, i % 2);
        char *keys = rows.keys, *values = rows.values;
        CHECK(keys >= pool.memory && (uintptr_t)keys % 64 == 0 && (uintptr_t)values % 64 == 0);
        CHECK((uintptr_t)sidecar % 64 == 0);
        CHECK(sidecar + sidecar_bytes <= pool.memory + 2 * pool.page_bytes);
        for (size_t k = 0; k < n; k++) {
            CHECK(keys[k] == 0 && values[k] == 0);
            keys[k] = (char)(1 + i);
            values[k] = (char)(100 + i);
        }
        CHECK((rows.losses != NULL) == (loss_bytes != 0));
        for (uint32_t k = 0; rows.losses != NULL && k < RSR_PAGE_TOKENS; k++) {
            CHECK(rows.losses[k].key == 0.0f && rows.losses[k].value == 0.0f);
            rows.losses[k] = (struct rsr_kv_loss){(float)(200 + i), (float)(300 + i)};
        }
        for (uint32_t k = 0; k < sidecar_bytes; k++) {
            CHECK(sidecar[k] == 0);
            sidecar[k] = (char)(50 + i);
        }
    }
    rsr_kv_memory_copy(&pool, 1, 0, 5);
    for (uint32_t i = 0; i < 6; i++) {
        const struct rsr_kv_rows rows = rsr_kv_memory_rows(&pool, 1, i / 2, i % 2);
        const char *sidecar = rsr_kv_memory_sidecar(&pool, 1, i / 2, i % 2);
        const char *keys = rows.keys, *values = rows.values;
        const size_t end = 5 * format.row_bytes;
        CHECK(keys[0] == (char)(1 + i) && keys[end - 1] == (char)(1 + i));
        CHECK(values[end - 1] == (char)(100 + i));
        CHECK(keys[end] == (char)(7 + i) && values[end] == (char)(106 + i));
        if (rows.losses != NULL) {
            CHECK(rows.losses[4].key == (float)(200 + i) &&
                  rows.losses[4].value == (float)(300 + i));
            CHECK(rows.losses[5].key == (float)(206 + i) &&
                  rows.losses[5].value == (float)(306 + i));
        }
        for (uint32_t k = 0; k < sidecar_bytes; k++)
            CHECK(sidecar[k] == (char)(56 + i));
    }
    rsr_kv_memory_destroy(&pool);
}

/* The stored bound of the rounding error is above the error and close to it, also for rows that do
 * not fill a vector. */
static void test_losses(void) {
    static const uint32_t dims[] = {1, 7, 8, 17, 64};
    uint64_t state = 11;
    for (size_t i = 0; i < sizeof(dims) / sizeof(dims[0]) * RSR_KV_TYPES; i++) {
        const enum rsr_kv_type type = (enum rsr_kv_type)(i % RSR_KV_TYPES);
        const uint32_t dim = dims[i / RSR_KV_TYPES];
        const struct rsr_kv_format format =
            rsr_kv_format_of(type, dim, true, rsr_ops_get(RSR_OPS_GENERIC));
        CHECK_INT(format.row_floats, (dim + 15) / 16 * 16);
        if (type == RSR_KV_F32)
            continue;
        char *memory = aligned_alloc(64, rsr_kv_rows_bytes(&format));
        float x[2][64], stored[64];
        for (uint32_t d = 0; d < dim; d++) {
            x[0][d] = (float)(check_random(&state) >> 40) * 0x1p-24f + 1.0f;
            x[1][d] = (float)(check_random(&state) >> 40) * 0x1p-20f - 8.0f;
        }
        const struct rsr_kv_rows rows = rsr_kv_rows_at(&format, memory);
        rsr_kv_rows_store(&format, rows, 3, x[0], x[1]);
        for (uint32_t of_value = 0; of_value < 2; of_value++) {
            const struct rsr_kv_rows row = rsr_kv_rows_from(&format, rows, 3);
            const float loss = of_value ? row.losses->value : row.losses->key;
            double squares = 0.0;
            format.ops->load(stored, of_value ? row.values : row.keys, format.row_floats);
            for (uint32_t d = 0; d < dim; d++) {
                const double lost = (double)x[of_value][d] - (double)stored[d];
                squares += lost * lost;
            }
            CHECK((double)loss >= sqrt(squares) &&
                  (double)loss <= sqrt(squares) * 1.000001 + 1e-30);
        }
        free(memory);
    }
}

static void test_too_large(void) {
    struct rsr_kv_memory pool = {0};
    rsr_error err = RSR_ERROR_INIT;
    const struct rsr_hyper huge = {
        .n_layers = 1u << 27, .n_kv_heads = 1u << 27, .head_dim = 1u << 27};
    const struct rsr_kv_format format = format_of(RSR_KV_F32, false), *const f = &format;
    CHECK_INT(rsr_kv_memory_create(&pool, f, &huge, 0, PAGES(4), &err), RSR_ERR_MEMORY);
    CHECK(err.message[0] != '\0');
    const struct rsr_hyper large = {.n_layers = 1u << 20, .n_kv_heads = 1u << 10, .head_dim = 4096};
    const struct rsr_kv_format wide =
        rsr_kv_format_of(RSR_KV_INT8, large.head_dim, false, rsr_ops_get(RSR_OPS_GENERIC));
    CHECK_INT(rsr_kv_memory_create(&pool, &wide, &large, 0, PAGES(UINT32_MAX / 2), &err),
              RSR_ERR_MEMORY);
    CHECK(pool.memory == NULL);
}

/* A pool is no larger than memory. A larger request is refused with both sizes; without a request,
 * the pool gets as many pages as fit. */
static void test_bounded(void) {
    struct rsr_kv_memory pool = {0};
    rsr_error err = RSR_ERROR_INIT;
    const struct rsr_hyper of_8b = {.n_layers = 32, .n_kv_heads = 8, .head_dim = 128};
    const struct rsr_kv_format format =
        rsr_kv_format_of(RSR_KV_BF16, 128, false, rsr_ops_get(RSR_OPS_GENERIC));
    struct rsr_kv_size size = {2048, (uint64_t)4 << 30, false, false,
                               NULL}; /* pages of 8 MiB: 16 GiB */
    CHECK_INT(rsr_kv_memory_create(&pool, &format, &of_8b, 0, &size, &err), RSR_ERR_MEMORY);
    CHECK(strstr(err.message, "131072 tokens take 16 GiB, and this process may have 4:") != NULL);
    CHECK(pool.memory == NULL);
    size.shrinks = true;
    CHECK_INT(rsr_kv_memory_create(&pool, &format, &of_8b, 0, &size, &err), RSR_OK);
    CHECK_INT(pool.n_pages, 512);
    rsr_kv_memory_destroy(&pool);
    size = (struct rsr_kv_size){512, (uint64_t)4 << 30, false, false, NULL};
    CHECK_INT(rsr_kv_memory_create(&pool, &format, &of_8b, 0, &size, &err), RSR_OK);
    rsr_kv_memory_destroy(&pool);
    size = (struct rsr_kv_size){1, ((uint64_t)8 << 20) - 1, true, false, NULL}; /* not even one */
    CHECK_INT(rsr_kv_memory_create(&pool, &format, &of_8b, 0, &size, &err), RSR_ERR_MEMORY);
}

static size_t n_resident(void *memory, size_t n_bytes) {
    const size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE), n = n_bytes / page_bytes;
    unsigned char *resident = calloc(n, 1);
    size_t sum = 0;
    CHECK(resident != NULL && mincore(memory, n * page_bytes, resident) == 0);
    for (size_t i = 0; resident != NULL && i < n; i++)
        sum += resident[i] & 1;
    free(resident);
    return sum;
}

/* On request the pool's memory is committed at once. */
static void test_committed(void) {
    const struct rsr_hyper of_four = {.n_layers = 4, .n_kv_heads = 2, .head_dim = 64};
    const struct rsr_kv_format format =
        rsr_kv_format_of(RSR_KV_BF16, 64, false, rsr_ops_get(RSR_OPS_GENERIC));
    for (int commits = 0; commits < 2; commits++) {
        struct rsr_kv_memory pool = {0};
        rsr_error err = RSR_ERROR_INIT;
        const struct rsr_kv_size size = {128, UINT64_MAX, false, commits != 0, NULL};
        CHECK_INT(rsr_kv_memory_create(&pool, &format, &of_four, 0, &size, &err), RSR_OK);
        const size_t n_bytes = (size_t)(pool.page_bytes * pool.n_pages);
        CHECK_INT(n_resident(pool.memory, n_bytes),
                  commits ? n_bytes / (size_t)sysconf(_SC_PAGESIZE) : 0);
        CHECK(pool.memory[0] == 0 && pool.memory[n_bytes - 1] == 0);
        rsr_kv_memory_destroy(&pool);
    }
}

/* A dropped page has no memory and reads as zeros; other pages do not change. Committed memory
 * stays. */
static void test_dropped(uint32_t sidecar_bytes) {
    enum { N = 4 };
    const size_t unit = (size_t)sysconf(_SC_PAGESIZE);
    const struct rsr_hyper of_four = {.n_layers = 4, .n_kv_heads = 2, .head_dim = 64};
    const struct rsr_kv_format format =
        rsr_kv_format_of(RSR_KV_F32, 64, false, rsr_ops_get(RSR_OPS_GENERIC));
    for (int commits = 0; commits < 2; commits++) {
        struct rsr_kv_memory pool = {0};
        const struct rsr_kv_size size = {N, UINT64_MAX, false, commits != 0, NULL};
        CHECK_INT(rsr_kv_memory_create(&pool, &format, &of_four, sidecar_bytes, &size, NULL),
                  RSR_OK);
        const size_t bytes = (size_t)pool.page_bytes, head = bytes / 8 - sidecar_bytes;
        memset(pool.memory, 7, N * bytes);
        CHECK_INT(n_resident(pool.memory, N * bytes), N * bytes / unit);
        rsr_kv_memory_drop(&pool, 1);
        size_t n_gone =
            8 * head / unit; /* all rows, and the system pages that each sidecar fills */
        for (uint32_t i = 0; i < 8 && sidecar_bytes != 0; i++) {
            const uintptr_t at = (uintptr_t)rsr_kv_memory_sidecar(&pool, 1, i / 2, i % 2);
            n_gone += (at + sidecar_bytes) / unit - (at + unit - 1) / unit;
        }
        CHECK_INT(n_resident(pool.memory, N * bytes), N * bytes / unit - (commits ? 0 : n_gone));
        for (uint32_t i = 0; i < N * 8; i++) {
            const bool dropped = !commits && i / 8 == 1;
            const char *keys = rsr_kv_memory_rows(&pool, i / 8, i / 2 % 4, i % 2).keys;
            CHECK(keys[0] == (dropped ? 0 : 7) && keys[head - 1] == (dropped ? 0 : 7));
            if (sidecar_bytes != 0 && !dropped) {
                const char *sidecar = rsr_kv_memory_sidecar(&pool, i / 8, i / 2 % 4, i % 2);
                CHECK(sidecar[0] == 7 && sidecar[sidecar_bytes - 1] == 7);
            }
        }
        rsr_kv_memory_destroy(&pool);
    }
}

/* ---- Sequences ---- */

static uint32_t free_pages(const rsr_engine *engine) {
    rsr_engine_info info = RSR_ENGINE_INFO_INIT;
    CHECK_INT(rsr_runtime_api.engine_get_info(engine, &info), RSR_OK);
    return info.kv_tokens_free / RSR_PAGE_TOKENS;
}

static void test_sequences(rsr_engine *engine) {
    const struct rsr_api *api = &rsr_runtime_api;
    static uint32_t tokens[300];
    rsr_sequence *a, *b, *c;
    rsr_error err = RSR_ERROR_INIT;
    CHECK_INT(free_pages(engine), 5);
    CHECK_INT(api->sequence_create(engine, &a, &err), RSR_OK);
    CHECK_INT(free_pages(engine), 5);
    CHECK_INT(fake_feed(engine, a, tokens, 130, 0, NULL), RSR_OK); /* 2 full pages, 2 tokens */
    CHECK_INT(free_pages(engine), 2);
    float keys[4] = {9, 9, 9, 9}, values[4] = {9, 9, 9, 9};
    CHECK_INT(api->sequence_read_kv(a, 130, 0, keys, values, &err), RSR_ERR_ARGUMENT);
    CHECK_INT(api->sequence_read_kv(a, 129, 1, keys, values, &err), RSR_ERR_ARGUMENT);
    CHECK_INT(api->sequence_read_kv(a, 129, 0, NULL, values, &err), RSR_ERR_ARGUMENT);
    CHECK(keys[0] == 9.0f && values[3] == 9.0f);
    CHECK_INT(api->sequence_read_kv(a, 129, 0, keys, values, &err), RSR_OK);
    const struct rsr_kv_memory *kv = &rsr_crew_of(engine)->kv;
    const struct rsr_kv_rows rows = rsr_kv_memory_rows(kv, a->pages[2], 0, 0);
    float row[16];
    kv->format.ops->load(row, (const char *)rows.keys + kv->format.row_bytes, 16);
    CHECK(memcmp(keys, row, sizeof(keys)) == 0);
    kv->format.ops->load(row, (const char *)rows.values + kv->format.row_bytes, 16);
    CHECK(memcmp(values, row, sizeof(values)) == 0);
    CHECK_INT(api->sequence_fork(a, &b, &err), RSR_OK); /* shares 2, copies the open one */
    CHECK_INT(api->sequence_length(b), 130);
    CHECK_INT(free_pages(engine), 1);
    CHECK_INT(fake_feed(engine, b, tokens, 1, 0, NULL), RSR_OK);
    CHECK_INT(free_pages(engine), 1);
    CHECK_INT(api->sequence_truncate(b, 100, &err), RSR_OK); /* its third page comes back */
    CHECK_INT(free_pages(engine), 2);
    CHECK_INT(fake_feed(engine, b, tokens, 1, 0, NULL), RSR_OK); /* copies the shared page */
    CHECK_INT(free_pages(engine), 1);
    CHECK_INT(api->sequence_truncate(b, 64, &err), RSR_OK);
    CHECK_INT(free_pages(engine), 2);
    CHECK_INT(api->sequence_fork(b, &c, &err), RSR_OK); /* no open page: nothing to copy */
    CHECK_INT(free_pages(engine), 2);

    /* Too many tokens for the pool: nothing changes, and fewer tokens still work. */
    CHECK_INT(fake_feed(engine, c, tokens, 129, 0, NULL), RSR_ERR_FULL);
    CHECK_INT(api->sequence_length(c), 64);
    CHECK_INT(free_pages(engine), 2);
    CHECK_INT(fake_feed(engine, c, tokens, 128, 0, NULL), RSR_OK);
    CHECK_INT(free_pages(engine), 0);
    rsr_sequence *d = NULL;
    CHECK_INT(api->sequence_fork(a, &d, &err), RSR_ERR_FULL);
    CHECK(d == NULL && strstr(err.message, "kv_tokens") != NULL);

    /* Truncating c into the page it shares and going on needs a copy that the pool cannot give. */
    CHECK_INT(api->sequence_truncate(c, 63, &err), RSR_OK);
    CHECK_INT(free_pages(engine), 2);
    CHECK_INT(fake_feed(engine, b, tokens, 100, 0, NULL), RSR_OK);
    CHECK_INT(free_pages(engine), 0);
    CHECK_INT(fake_feed(engine, c, tokens, 1, 0, NULL), RSR_ERR_FULL);
    CHECK_INT(api->sequence_length(c), 63);
    CHECK_INT(api->sequence_truncate(c, 64, &err), RSR_ERR_ARGUMENT);
    api->sequence_destroy(a);
    CHECK_INT(free_pages(engine), 2); /* a's second page and open page; its first is shared */
    CHECK_INT(fake_feed(engine, c, tokens, 1, 0, NULL), RSR_OK);
    api->sequence_destroy(b);
    api->sequence_destroy(c);
    CHECK_INT(free_pages(engine), 5);
}

static void set_kv(rsr_engine_options *options, bool commits) {
    options->n_threads = 2;
    options->kv_tokens = 512;
    options->kv_commit = commits;
}

/* KV pages that have memory, in `engine`. */
static size_t pages_with_memory(const rsr_engine *engine) {
    const struct rsr_kv_memory *kv = &rsr_crew_of(engine)->kv;
    size_t n = 0;
    for (uint32_t i = 0; i < kv->n_pages; i++)
        n += n_resident(kv->memory + i * kv->page_bytes, (size_t)kv->page_bytes) > 0;
    return n;
}

/* Pages without an owner go back to the system, except RSR_WARM_PAGES. */
static void test_memory_of_sequences(rsr_model *model, bool commits) {
    const struct rsr_api *api = &rsr_runtime_api;
    static uint32_t tokens[500];
    const size_t all = commits ? 8 : 0;
    rsr_engine_options options = RSR_ENGINE_OPTIONS_INIT;
    rsr_engine_info info = RSR_ENGINE_INFO_INIT;
    rsr_engine *engine = NULL;
    rsr_sequence *a, *b;
    set_kv(&options, commits);
    CHECK_INT(api->engine_create(model, &options, &engine, NULL), RSR_OK);
    CHECK_INT(api->engine_get_info(engine, &info), RSR_OK);
    CHECK_INT(info.kv_page_tokens, 64);
    CHECK_INT(info.kv_token_bytes, 2 * 128 * 2 * 3 * 2);
    CHECK_INT(info.kv_bytes, 512 * info.kv_token_bytes);
    CHECK_INT(pages_with_memory(engine), all);
    CHECK_INT(api->sequence_create(engine, &a, NULL), RSR_OK);
    CHECK_INT(fake_feed(engine, a, tokens, 300, 0, NULL), RSR_OK);
    CHECK_INT(api->sequence_fork(a, &b, NULL), RSR_OK); /* 4 shared pages, 2 open ones */
    CHECK_INT(pages_with_memory(engine), commits ? 8 : 6);
    api->sequence_destroy(a); /* its open page stays warm */
    CHECK_INT(pages_with_memory(engine), commits ? 8 : 6);
    CHECK_INT(api->sequence_truncate(b, 64, NULL), RSR_OK);
    CHECK_INT(pages_with_memory(engine), commits ? 8 : 2);
    CHECK_INT(fake_feed(engine, b, tokens, 1, 0, NULL), RSR_OK); /* the warm one */
    CHECK_INT(pages_with_memory(engine), commits ? 8 : 2);
    CHECK_INT(fake_feed(engine, b, tokens, 500, 0, NULL),
              RSR_ERR_FULL); /* and reading writes nothing */
    CHECK_INT(pages_with_memory(engine), commits ? 8 : 2);
    CHECK_INT(fake_feed(engine, b, tokens, 400, 0, NULL), RSR_OK);
    CHECK_INT(pages_with_memory(engine), 8);
    api->sequence_destroy(b);
    CHECK_INT(pages_with_memory(engine), commits ? 8 : RSR_WARM_PAGES);
    api->engine_destroy(engine);
}

/* The sidecars of a layer and head are contiguous for up to 8 pages. The pool ends with the last
 * sidecar. */
static void test_sidecars(void) {
    enum { N_PAGES = 11, BYTES = 192 };
    const struct rsr_kv_format format = format_of(RSR_KV_F32, false);
    struct rsr_kv_memory pool;
    CHECK_INT(rsr_kv_memory_create(&pool, &format, &hyper, BYTES, PAGES(N_PAGES), NULL), RSR_OK);
    for (uint32_t pass = 0; pass < 2; pass++) {
        for (uint32_t i = 0; i < N_PAGES * 6; i++) {
            const uint32_t page = i / 6, layer = i / 2 % 3, head = i % 2;
            char *sidecar = rsr_kv_memory_sidecar(&pool, page, layer, head);
            CHECK(sidecar >= (char *)rsr_kv_memory_rows(&pool, N_PAGES - 1, 2, 1).values +
                                 RSR_PAGE_TOKENS * format.row_bytes);
            CHECK(sidecar + BYTES <= pool.memory + N_PAGES * pool.page_bytes);
            if (page % 8 > 0)
                CHECK(rsr_kv_memory_sidecar(&pool, page - 1, layer, head) == sidecar - BYTES);
            for (uint32_t k = 0; k < BYTES; k++) {
                CHECK_INT(sidecar[k], pass == 0 ? 0 : (char)(1 + i));
                sidecar[k] = (char)(1 + i);
            }
        }
    }
    rsr_kv_memory_destroy(&pool);
}

int main(void) {
    static struct fake_module fake;
    struct fake_shape shape = fake_small_shape(5, 400);
    shape.n_layers = shape.n_kv_heads = 1;
    test_counts();
    test_mapping();
    test_sidecars();
    test_losses();
    for (uint32_t type = 0; type < RSR_KV_TYPES; type++) {
        test_rows((enum rsr_kv_type)type, false, 0);
        test_rows((enum rsr_kv_type)type, true, 192);
    }
    test_too_large();
    test_bounded();
    test_committed();
    test_dropped(0);
    test_dropped(8192 + 64);
    fake_module_init(&fake, &shape, 1);
    rsr_model *model = fake_open(&fake, RSR_OPS_GENERIC);
    rsr_engine *engine = fake_engine(model, 1, 64, 300); /* 5 pages */
    test_sequences(engine);
    rsr_runtime_api.engine_destroy(engine);
    rsr_runtime_api.close(model);
    static struct fake_module wide;
    struct fake_shape of_memory = fake_small_shape(5, 512);
    of_memory.n_layers = 3;
    of_memory.head_dim = 128;
    fake_module_init(&wide, &of_memory, 1);
    model = fake_open(&wide, RSR_OPS_GENERIC);
    test_memory_of_sequences(model, false);
    test_memory_of_sequences(model, true);
    rsr_runtime_api.close(model);
    return CHECK_EXIT();
}
