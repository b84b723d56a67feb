/* kv_cold.c - the time of a decode step whose keys and values lie in memory, or in a file (kv_dir)
 * that the system's cache holds or does not hold.
 *
 *     kv_cold FOLDER KEYS TURNS ATTENTION...
 *
 * Three layers with 8 query heads and 2 KV heads of 128 dimensions in bfloat16; the other layers
 * are next to nothing, so a step is its attention. Keys and values are normally distributed and
 * written straight to the pages. A cold step begins after the whole file was dropped from the
 * cache; `unfetched` is a cold step that asks for nothing ahead of its use. Configurations take
 * turns in one run. Prints medians, and what a step read from the disk.
 */
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "check.h"
#include "fake_module.h"
#include "walk/crew.h"

#define API (&rsr_runtime_api)
enum { VOCAB = 11, LAYERS = 3, KV_HEADS = 2, DIM = 128, MOST_TURNS = 99, DRAWN = 1 << 20 };

enum state { IN_MEMORY, WARM, COLD, UNFETCHED, N_STATES };
static const char *const state_names[N_STATES] = {"memory", "file, cached", "file, cold",
                                                  "file, cold, unfetched"};

struct setting {
    rsr_engine *engine;
    rsr_sequence *sequence;
};

struct result {
    double ms[MOST_TURNS];
    uint64_t read_bytes;
};

static double normal(uint64_t *state) {
    const double u = (double)((check_random(state) >> 11) + 1) * 0x1p-53;
    return sqrt(-2.0 * log(u)) *
           cos(6.283185307179586 * (double)(check_random(state) >> 11) * 0x1p-53);
}

/* Writes n keys and values, and seals their pages. */
static void fill(struct setting *s, uint32_t n) {
    const struct rsr_kv_memory *kv = &rsr_crew_of(s->engine)->kv;
    static float drawn[DRAWN + DIM];
    uint64_t state = 5;
    for (uint32_t i = 0; i < DRAWN + DIM; i++)
        drawn[i] = (float)normal(&state);
    for (uint32_t at = 0; at < n; at++) {
        pthread_mutex_lock(&s->engine->lock);
        CHECK(rsr_sequence_reserve(s->sequence, at));
        pthread_mutex_unlock(&s->engine->lock);
        for (uint32_t i = 0; i < LAYERS * KV_HEADS; i++) {
            const struct rsr_kv_rows rows = rsr_kv_memory_rows(
                kv, s->sequence->pages[at / RSR_PAGE_TOKENS], i / KV_HEADS, i % KV_HEADS);
            rsr_kv_rows_store(&kv->format, rows, at % RSR_PAGE_TOKENS,
                              drawn + check_random(&state) % DRAWN,
                              drawn + check_random(&state) % DRAWN);
        }
        s->sequence->tokens[at] = 1;
    }
    if (s->engine->saved.has_index)
        CHECK_INT(s->engine->backend->seal_pages(s->engine, s->sequence->pages, n / RSR_PAGE_TOKENS,
                                                 NULL),
                  RSR_OK);
    rsr_sequence_show(s->sequence, n);
}

static struct setting new_setting(rsr_model *model, const char *attention, const char *folder,
                                  uint32_t n) {
    rsr_engine_options options = RSR_ENGINE_OPTIONS_INIT;
    struct setting s = {NULL, NULL};
    rsr_error err = RSR_ERROR_INIT;
    options.n_threads = 1;
    options.kv_type = "bf16";
    options.attention = attention;
    options.kv_dir = folder;
    if (API->engine_create(model, &options, &s.engine, &err) != RSR_OK ||
        API->sequence_create(s.engine, &s.sequence, &err) != RSR_OK) {
        fprintf(stderr, "kv_cold: %s\n", err.message);
        exit(1);
    }
    fill(&s, n);
    return s;
}

/* Brings the file into the state. */
static void prepare(const struct setting *s, enum state state) {
    struct rsr_kv_disk *disk = rsr_crew_of(s->engine)->kv.disk;
    if (state < COLD)
        return;
    CHECK_INT(fdatasync(disk->fd), 0);
    CHECK_INT(madvise(disk->memory, disk->bytes, MADV_DONTNEED), 0);
    CHECK_INT(posix_fadvise(disk->fd, 0, 0, POSIX_FADV_DONTNEED), 0);
    for (uint64_t i = 0; i < disk->n_blocks; i++)
        atomic_store(&disk->near[i], state == COLD ? 0 : UINT16_MAX);
    atomic_store(&disk->n_near, 0);
}

static uint64_t disk_reads(void) {
    char line[128];
    unsigned long long bytes = 0;
    FILE *io = fopen("/proc/self/io", "r");
    while (io != NULL && fgets(line, sizeof(line), io) != NULL)
        (void)sscanf(line, "read_bytes: %llu", &bytes);
    if (io != NULL)
        fclose(io);
    return bytes;
}

static void step(const struct setting *s, uint32_t n, struct result *result, uint32_t turn) {
    const uint32_t token = 2;
    float logits[VOCAB];
    const uint64_t before = disk_reads(), begin = rsr_now_ns();
    CHECK_INT(fake_feed(s->engine, s->sequence, &token, 1, VOCAB, logits), RSR_OK);
    result->ms[turn] = (double)(rsr_now_ns() - begin) * 1e-6;
    result->read_bytes = disk_reads() - before;
    CHECK_INT(API->sequence_truncate(s->sequence, n, NULL), RSR_OK);
}

static int by_size(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

int main(int argc, char **argv) {
    static struct fake_module fake;
    static struct result results[N_STATES];
    const char *folder = argv[1];
    const uint32_t n = argc > 4 ? (uint32_t)atoi(argv[2]) : 0;
    const uint32_t n_turns = argc > 4 ? (uint32_t)atoi(argv[3]) : 0;
    if (n == 0 || n_turns == 0 || n_turns > MOST_TURNS) {
        fprintf(stderr, "usage: kv_cold FOLDER KEYS TURNS ATTENTION...\n");
        return 1;
    }
    const struct fake_shape shape = {.hidden = 20,
                                     .n_layers = LAYERS,
                                     .n_heads = 4 * KV_HEADS,
                                     .n_kv_heads = KV_HEADS,
                                     .head_dim = DIM,
                                     .ffn = 8,
                                     .vocab = VOCAB,
                                     .context = n + RSR_PAGE_TOKENS,
                                     .head_dtype = RSR_DTYPE_F32,
                                     .sharpness = 8.0f};
    fake_module_init(&fake, &shape, 1);
    rsr_model *model = NULL;
    for (int level = RSR_OPS_LEVEL_COUNT - 1; model == NULL && level >= 0; level--)
        model = fake_open(&fake, (enum rsr_ops_level)level);
    for (int k = 4; k < argc; k++) {
        const struct setting in_memory = new_setting(model, argv[k], NULL, n),
                             on_disk = new_setting(model, argv[k], folder, n);
        for (uint32_t turn = 0; turn < n_turns; turn++) {
            for (enum state state = 0; state < N_STATES; state++) {
                const struct setting *s = state == IN_MEMORY ? &in_memory : &on_disk;
                prepare(s, state);
                if (state == WARM) /* also after a cold step */
                    step(s, n, &results[state], turn);
                step(s, n, &results[state], turn);
            }
        }
        for (enum state state = 0; state < N_STATES; state++) {
            struct result *r = &results[state];
            qsort(r->ms, n_turns, sizeof(*r->ms), by_size);
            printf("%-16s %-22s %9.2f ms a layer, %8.2f MiB a layer from the disk\n", argv[k],
                   state_names[state], r->ms[n_turns / 2] / (double)LAYERS,
                   (double)r->read_bytes / (double)LAYERS / (1 << 20));
        }
        for (uint32_t i = 0; i < 2; i++) {
            API->sequence_destroy((i == 0 ? in_memory : on_disk).sequence);
            API->engine_destroy((i == 0 ? in_memory : on_disk).engine);
        }
    }
    API->close(model);
    return check_failures != 0;
}
