/* Keys and values in a file: engines with kv_dir give the bits of engines without, through growth,
 * truncation, forks, saved sequences and prefix caches; what is mapped stays bounded; the file has
 * no name; a disk without room fails a batch and changes nothing. */
#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "fake_module.h"
#include "walk/crew.h"

#define API (&rsr_runtime_api)
enum { VOCAB = 11, CONTEXT = 400, LENGTH = 330 };

static char folder[] = "/tmp/kv_disk.XXXXXX", saved[64];
static uint32_t tokens[CONTEXT];

static uint32_t count_files(void) {
    DIR *dir = opendir(folder);
    uint32_t n = 0;
    for (const struct dirent *entry; (entry = readdir(dir)) != NULL;)
        n += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    closedir(dir);
    return n;
}

/* The memory of the mapping that begins at `memory`, as the kernel counts it. */
static uint64_t resident_bytes(const void *memory) {
    char line[512], address[32];
    unsigned long long kilobytes = 0;
    bool found = false;
    FILE *maps = fopen("/proc/self/smaps", "r");
    CHECK(maps != NULL);
    snprintf(address, sizeof(address), "%llx-", (unsigned long long)(uintptr_t)memory);
    while (maps != NULL && fgets(line, sizeof(line), maps) != NULL) {
        found = found || strncmp(line, address, strlen(address)) == 0;
        if (found && sscanf(line, "Rss: %llu kB", &kilobytes) == 1)
            break;
    }
    CHECK(found);
    if (maps != NULL)
        fclose(maps);
    return (uint64_t)kilobytes << 10;
}

/* ---- The file ---- */

/* The file has no name, mode 0600, and takes and gives back blocks of the disk. */
static void test_file(void) {
    const uint64_t unit = (uint64_t)sysconf(_SC_PAGESIZE), bytes = 64 * unit;
    struct rsr_kv_disk disk;
    struct stat info;
    uint64_t free_bytes = 0;
    rsr_error err = RSR_ERROR_INIT;
    CHECK_INT(rsr_kv_disk_create(&disk, "/no/such/folder", &free_bytes, &err), RSR_ERR_FILE);
    CHECK(strstr(err.message, "'/no/such/folder': No such file or directory") != NULL);
    CHECK_INT(rsr_kv_disk_create(&disk, folder, &free_bytes, &err), RSR_OK);
    CHECK(free_bytes > bytes && count_files() == 0);
    CHECK(fstat(disk.fd, &info) == 0 && (info.st_mode & 0777) == 0600 && info.st_nlink == 0);
    char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(rsr_kv_disk_map(&disk, memory, bytes, UINT64_MAX));
    CHECK_INT(rsr_kv_disk_take(&disk, 8 * unit, 8 * unit), 0); /* a hole before it */
    CHECK(fstat(disk.fd, &info) == 0 && (uint64_t)info.st_blocks * 512 == 8 * unit);
    CHECK(memory[8 * unit] == 0 && memory[16 * unit - 1] == 0);
    memset(memory + 8 * unit, 7, 8 * unit);
    CHECK(!rsr_kv_disk_give(&disk, 8 * unit + 1, unit)); /* no whole unit */
    if (rsr_kv_disk_give(&disk, 8 * unit + 1, 3 * unit)) {
        CHECK(fstat(disk.fd, &info) == 0 && (uint64_t)info.st_blocks * 512 == 6 * unit);
        CHECK(memory[9 * unit - 1] == 7 && memory[9 * unit] == 0 && memory[11 * unit - 1] == 0 &&
              memory[11 * unit] == 7);
        CHECK_INT(rsr_kv_disk_take(&disk, 8 * unit + 1, 3 * unit), 0);
        CHECK(memory[9 * unit - 1] == 7 && memory[9 * unit] == 0);
    }
    rsr_kv_disk_destroy(&disk);
    CHECK_INT(munmap(memory, bytes), 0);
}

/* What is wanted counts in blocks, once; beyond the limit all is unmapped, and nothing is lost. */
static void test_near(void) {
    const uint64_t unit = (uint64_t)sysconf(_SC_PAGESIZE), block = 16 * unit, bytes = 40 * block;
    struct rsr_kv_disk disk;
    uint64_t free_bytes;
    CHECK_INT(rsr_kv_disk_create(&disk, folder, &free_bytes, NULL), RSR_OK);
    char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(rsr_kv_disk_map(&disk, memory, bytes, 4 * block));
    CHECK_INT(rsr_kv_disk_take(&disk, 0, bytes), 0);
    uint64_t most = 0;
    for (uint32_t pass = 0; pass < 3; pass++) {
        for (uint64_t at = 0; at < bytes; at += 700) {
            const uint64_t n = bytes - at < 300 ? bytes - at : 300;
            rsr_kv_disk_want(&disk, memory + at, n);
            if (pass == 0)
                memset(memory + at, (int)(at % 251), n);
            CHECK(memory[at] == (char)(at % 251) && memory[at + n - 1] == (char)(at % 251));
            const uint64_t resident = at % 7000 == 0 ? resident_bytes(memory) : 0;
            most = resident > most ? resident : most;
        }
    }
    CHECK(most > block && most <= 6 * block);
    disk.most_near = UINT64_MAX;
    rsr_kv_disk_want(&disk, memory, bytes);
    const uint64_t n_near = atomic_load(&disk.n_near);
    CHECK(n_near >= 40 && n_near <= 41);
    rsr_kv_disk_want(&disk, memory, bytes);
    CHECK_INT(atomic_load(&disk.n_near), n_near);
    rsr_kv_disk_destroy(&disk);
    CHECK_INT(munmap(memory, bytes), 0);
}

/* ---- Engines ---- */

static rsr_engine_options options_of(const char *kv_type, const char *attention, const char *dir) {
    rsr_engine_options options = RSR_ENGINE_OPTIONS_INIT;
    options.n_threads = kv_type[0] == 'b' ? 2 : 1;
    options.max_batch = 64;
    options.kv_tokens = 3 * CONTEXT;
    options.kv_type = kv_type;
    options.attention = attention;
    options.kv_dir = dir;
    return options;
}

/* most_near 0: the default */
static rsr_engine *new_engine(rsr_model *model, const char *kv_type, const char *attention,
                              const char *dir, uint64_t most_near) {
    const rsr_engine_options options = options_of(kv_type, attention, dir);
    rsr_engine *engine = NULL;
    rsr_error err = RSR_ERROR_INIT;
    CHECK_INT(API->engine_create(model, &options, &engine, &err), RSR_OK);
    CHECK_STR(err.message, "");
    CHECK((rsr_crew_of(engine)->kv.disk != NULL) == (dir != NULL));
    if (most_near != 0)
        rsr_crew_of(engine)->kv.disk->most_near = most_near;
    return engine;
}

/* Does to sequences what engines allow, and writes all logits. Returns their number. */
static size_t live(rsr_engine *engine, float *logits) {
    const float *begin = logits;
    rsr_sequence *a, *b, *c;
    rsr_error err = RSR_ERROR_INIT;
    CHECK_INT(API->sequence_create(engine, &a, NULL), RSR_OK);
    CHECK_INT(fake_feed(engine, a, tokens, LENGTH, VOCAB, logits), RSR_OK);
    logits += LENGTH * VOCAB;
    CHECK_INT(API->sequence_fork(a, &b, NULL), RSR_OK);
    CHECK_INT(API->sequence_truncate(b, 150, NULL), RSR_OK); /* into a shared page */
    CHECK_INT(fake_feed(engine, b, tokens + 1, 100, VOCAB, logits), RSR_OK);
    logits += 100 * VOCAB;
    CHECK_INT(API->sequence_truncate(a, 250, NULL), RSR_OK);
    CHECK_INT(API->sequence_save(a, saved, &err), RSR_OK);
    API->sequence_destroy(b); /* its pages go back to the system */
    CHECK_INT(API->sequence_load(engine, saved, &c, &err), RSR_OK);
    CHECK_STR(err.message, "");
    for (uint32_t i = 0; i < 2; i++) {
        CHECK_INT(fake_feed(engine, i == 0 ? a : c, tokens + 7, 90, VOCAB, logits), RSR_OK);
        logits += 90 * VOCAB;
    }
    API->sequence_destroy(a);
    for (uint32_t i = 0; i < 20; i++) { /* single steps */
        CHECK_INT(fake_feed(engine, c, tokens + i, 1, VOCAB, logits), RSR_OK);
        logits += VOCAB;
    }
    API->sequence_destroy(c);
    return (size_t)(logits - begin);
}

static void test_bits(rsr_model *model) {
    static const char *const kinds[] = {
        NULL,
        "louver:topk:8,min=1",
        "louver:mass:0.1,min=1,sinks=3",
        "louver:error:0.5,min=100",
        "louver:sample_gap:0.5,3,min=64,window=5",
    };
    static const char *const types[] = {"f32", "bf16", "int8"};
    static float expected[CONTEXT * VOCAB * 2], got[CONTEXT * VOCAB * 2];
    for (uint32_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        rsr_engine *engine = new_engine(model, types[i % 3], kinds[i], NULL, 0);
        const size_t n = live(engine, expected);
        API->engine_destroy(engine);
        for (uint32_t j = 0; j < 2; j++) { /* once with next to nothing mapped */
            engine = new_engine(model, types[i % 3], kinds[i], folder, j == 0 ? 0 : 1 << 18);
            memset(got, 0, sizeof(got));
            CHECK_INT(live(engine, got), n);
            CHECK(memcmp(got, expected, n * sizeof(*got)) == 0);
            CHECK_INT(count_files(), 1); /* the saved sequence */
            API->engine_destroy(engine);
        }
    }
}

/* What is mapped of the file stays below the limit and the pages that are being filled. */
static void test_bound(rsr_model *model, const char *attention) {
    const uint64_t most_near = 1 << 17;
    rsr_engine *engine = new_engine(model, "f32", attention, folder, most_near);
    const struct rsr_kv_memory *kv = &rsr_crew_of(engine)->kv;
    const uint64_t open = kv->page_bytes + rsr_kv_rows_bytes(&kv->format) * (LENGTH / 64 + 1);
    uint64_t most = 0;
    rsr_sequence *sequence;
    CHECK(LENGTH / 64 * kv->page_bytes > most_near + open + open / 2);
    CHECK_INT(API->sequence_create(engine, &sequence, NULL), RSR_OK);
    CHECK_INT(fake_feed(engine, sequence, tokens, LENGTH - 20, 0, NULL), RSR_OK);
    for (uint32_t i = 0; i < 20; i++) {
        CHECK_INT(fake_feed(engine, sequence, tokens, 1, 0, NULL), RSR_OK);
        const uint64_t bytes = resident_bytes(kv->memory);
        most = bytes > most ? bytes : most;
    }
    CHECK(most <= most_near + open);
    API->sequence_destroy(sequence);
    API->engine_destroy(engine);
}

static void limit_files(uint64_t bytes) {
    struct rlimit limit;
    CHECK_INT(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes == 0 ? limit.rlim_max : bytes;
    CHECK_INT(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* Without room for another page, a batch, a fork and a loaded sequence fail. What there is stays,
 * and goes on when there is room. */
static void test_full(rsr_model *model, const char *attention) {
    static float expected[CONTEXT * VOCAB], got[CONTEXT * VOCAB];
    rsr_error err = RSR_ERROR_INIT;
    rsr_sequence *a, *b = NULL, *c = NULL;
    rsr_engine *engine = new_engine(model, "bf16", attention, NULL, 0);
    CHECK_INT(API->sequence_create(engine, &a, NULL), RSR_OK);
    CHECK_INT(fake_feed(engine, a, tokens, LENGTH, VOCAB, expected), RSR_OK);
    API->sequence_destroy(a);
    API->engine_destroy(engine);

    engine = new_engine(model, "bf16", attention, folder, 0);
    const struct rsr_kv_memory *kv = &rsr_crew_of(engine)->kv;
    const uint64_t page_bytes = kv->sidecars_at / kv->n_pages;
    rsr_engine_info before = RSR_ENGINE_INFO_INIT, after = RSR_ENGINE_INFO_INIT;
    CHECK_INT(API->sequence_create(engine, &a, NULL), RSR_OK);
    CHECK_INT(fake_feed(engine, a, tokens, 100, VOCAB, got), RSR_OK);
    CHECK_INT(API->sequence_save(a, saved, &err), RSR_OK);
    CHECK_INT(API->engine_get_info(engine, &before), RSR_OK);
    limit_files(3 * page_bytes + 100);
    CHECK_INT(fake_feed(engine, a, tokens, 200, VOCAB, got), RSR_ERR_FULL);
    CHECK_INT(API->sequence_length(a), 100);
    CHECK_INT(API->sequence_fork(a, &b, &err), RSR_OK); /* the third page */
    CHECK_INT(API->sequence_fork(a, &c, &err), RSR_ERR_FULL);
    CHECK_STR(err.message, "the disk of kv_dir has no room for another page of keys and values "
                           "(File too large); end a sequence or free some of the disk");
    CHECK_INT(API->sequence_load(engine, saved, &c, &err), RSR_ERR_FULL);
    CHECK(c == NULL && strstr(err.message, "(File too large)") != NULL);
    API->sequence_destroy(b);
    CHECK_INT(API->engine_get_info(engine, &after), RSR_OK);
    CHECK_INT(after.kv_tokens_free, before.kv_tokens_free);
    /* The third page is there: so are its blocks. */
    CHECK_INT(fake_feed(engine, a, tokens + 100, 92, VOCAB, got + 100 * VOCAB), RSR_OK);
    CHECK_INT(fake_feed(engine, a, tokens, 1, VOCAB, got + 192 * VOCAB), RSR_ERR_FULL);
    limit_files(0);
    CHECK_INT(fake_feed(engine, a, tokens + 192, LENGTH - 192, VOCAB, got + 192 * VOCAB), RSR_OK);
    CHECK(memcmp(got, expected, LENGTH * VOCAB * sizeof(*got)) == 0);
    API->sequence_destroy(a);
    API->engine_destroy(engine);
}

/* A pool that the disk cannot hold is refused, or made smaller; with kv_commit the whole file is
 * there. */
static void test_sizes(rsr_model *model) {
    rsr_engine_options options = options_of("f32", "louver:topk:8,min=1", folder);
    rsr_engine_info info = RSR_ENGINE_INFO_INIT;
    rsr_engine *engine = NULL;
    rsr_error err = RSR_ERROR_INIT;
    struct stat file;
    limit_files(1 << 20);
    CHECK_INT(API->engine_create(model, &options, &engine, &err), RSR_ERR_FILE);
    CHECK(strstr(err.message, "keys and values of 1216 tokens take ") != NULL);
    CHECK(strstr(err.message, folder) != NULL && strstr(err.message, " free: ask for ") != NULL);
    options.kv_tokens = 0;
    CHECK_INT(API->engine_create(model, &options, &engine, &err), RSR_OK);
    CHECK_INT(API->engine_get_info(engine, &info), RSR_OK);
    CHECK(info.kv_tokens >= 64 && info.kv_tokens < CONTEXT);
    CHECK(rsr_crew_of(engine)->kv.sidecars_at <= 1 << 20);
    API->engine_destroy(engine);
    limit_files(0);

    options.kv_commit = true;
    CHECK_INT(API->engine_create(model, &options, &engine, &err), RSR_OK);
    const struct rsr_kv_memory *kv = &rsr_crew_of(engine)->kv;
    CHECK(fstat(kv->disk->fd, &file) == 0 && (uint64_t)file.st_blocks * 512 >= kv->sidecars_at);
    rsr_sequence *sequence;
    CHECK_INT(API->sequence_create(engine, &sequence, NULL), RSR_OK);
    CHECK_INT(fake_feed(engine, sequence, tokens, LENGTH, 0, NULL), RSR_OK);
    API->sequence_destroy(sequence);
    CHECK(fstat(kv->disk->fd, &file) == 0 && (uint64_t)file.st_blocks * 512 >= kv->sidecars_at);
    API->engine_destroy(engine);

    /* Without it, blocks come and go with pages. */
    options.kv_commit = false;
    CHECK_INT(API->engine_create(model, &options, &engine, &err), RSR_OK);
    kv = &rsr_crew_of(engine)->kv;
    CHECK(fstat(kv->disk->fd, &file) == 0 && file.st_blocks == 0);
    CHECK_INT(API->sequence_create(engine, &sequence, NULL), RSR_OK);
    CHECK_INT(fake_feed(engine, sequence, tokens, LENGTH, 0, NULL), RSR_OK);
    const uint64_t page_bytes = kv->sidecars_at / kv->n_pages;
    CHECK(fstat(kv->disk->fd, &file) == 0 && (uint64_t)file.st_blocks * 512 > 5 * page_bytes);
    API->sequence_destroy(sequence);
    CHECK(fstat(kv->disk->fd, &file) == 0 && (uint64_t)file.st_blocks * 512 < 2 * page_bytes);
    API->engine_destroy(engine);
}

int main(void) {
    static struct fake_module fake;
    struct fake_shape shape = fake_small_shape(VOCAB, CONTEXT);
    uint64_t state = 3;
    shape.head_dim = 128;
    shape.n_layers = 3;
    for (uint32_t i = 0; i < CONTEXT; i++)
        tokens[i] = (uint32_t)(check_random(&state) % VOCAB);
    CHECK(mkdtemp(folder) != NULL);
    snprintf(saved, sizeof(saved), "%s/saved", folder);
    fake_module_init(&fake, &shape, 1);
    rsr_model *model = fake_open(&fake, RSR_OPS_GENERIC);
    test_file();
    test_near();
    test_bits(model);
    test_bound(model, NULL);
    test_bound(model, "louver:topk:8,min=1");
    test_full(model, NULL);
    test_full(model, "louver:topk:8,min=1");
    test_sizes(model);
    API->close(model);
    unlink(saved);
    CHECK_INT(rmdir(folder), 0);
    return CHECK_EXIT();
}
