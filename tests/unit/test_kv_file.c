/* Saved sequences: a loaded sequence continues with the bits of the saved one; a change of any byte
 * of a file is found; a file of another engine is refused, and the message says what differs; a
 * failed write leaves no file. */
#include <dirent.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "engine/kv_file.h"
#include "fake_module.h"
#include "rsr_hash.h"

#define API (&rsr_runtime_api)
enum { VOCAB = 11, CONTEXT = 400, LENGTH = 150, MORE = 60 };

static char folder[] = "/tmp/kv_file.XXXXXX", path[64], damaged[64];
static uint32_t tokens[CONTEXT];

/* ---- Files ---- */

struct bytes {
    uint8_t *data;
    size_t n;
};

static struct bytes read_bytes(const char *name) {
    struct bytes bytes = {malloc(1 << 20), 0};
    FILE *file = fopen(name, "rb");
    CHECK(file != NULL);
    bytes.n = fread(bytes.data, 1, 1 << 20, file);
    fclose(file);
    return bytes;
}

static void write_bytes(const char *name, const uint8_t *data, size_t n) {
    FILE *file = fopen(name, "wb");
    CHECK(file != NULL && fwrite(data, 1, n, file) == n && fclose(file) == 0);
}

static uint32_t count_files(void) {
    DIR *dir = opendir(folder);
    uint32_t n = 0;
    for (const struct dirent *entry; (entry = readdir(dir)) != NULL;)
        n += entry->d_name[0] != '.';
    closedir(dir);
    return n;
}

/* ---- Engines ---- */

static rsr_engine *new_engine(rsr_model *model, const char *kv_type, const char *attention,
                              uint32_t context) {
    rsr_engine_options options = RSR_ENGINE_OPTIONS_INIT;
    rsr_engine *engine = NULL;
    rsr_error err = RSR_ERROR_INIT;
    options.n_threads = 2;
    options.max_batch = 64;
    options.kv_type = kv_type;
    options.attention = attention;
    options.context = context;
    CHECK_INT(API->engine_create(model, &options, &engine, &err), RSR_OK);
    CHECK_STR(err.message, "");
    return engine;
}

static void save(rsr_engine *engine, uint32_t n_tokens, float *logits) {
    rsr_sequence *sequence;
    rsr_error err = RSR_ERROR_INIT;
    CHECK_INT(API->sequence_create(engine, &sequence, NULL), RSR_OK);
    if (n_tokens > 0)
        CHECK_INT(fake_feed(engine, sequence, tokens, n_tokens, VOCAB, NULL), RSR_OK);
    CHECK_INT(API->sequence_save(sequence, path, &err), RSR_OK);
    CHECK_STR(err.message, "");
    CHECK_INT(fake_feed(engine, sequence, tokens + n_tokens, MORE, VOCAB, logits), RSR_OK);
    API->sequence_destroy(sequence);
}

/* A refusal says `part`, changes nothing and keeps no page. */
static void refuse(rsr_engine *engine, const char *name, rsr_status status, const char *part) {
    rsr_sequence *sequence = NULL;
    rsr_error err = RSR_ERROR_INIT;
    rsr_engine_info before = RSR_ENGINE_INFO_INIT, after = RSR_ENGINE_INFO_INIT;
    CHECK_INT(API->engine_get_info(engine, &before), RSR_OK);
    CHECK_INT(API->sequence_load(engine, name, &sequence, &err), status);
    CHECK_INT(API->engine_get_info(engine, &after), RSR_OK);
    if (strstr(err.message, part) == NULL)
        CHECK_STR(err.message, part);
    CHECK(sequence == NULL && before.kv_tokens_free == after.kv_tokens_free);
}

/* ---- Tests ---- */

static void test_round_trip(rsr_model *model, const char *kv_type, const char *attention,
                            uint32_t n_tokens) {
    static float saved[MORE * VOCAB], loaded[MORE * VOCAB];
    rsr_engine *engine = new_engine(model, kv_type, attention, 0);
    save(engine, n_tokens, saved);
    API->engine_destroy(engine);
    engine = new_engine(model, kv_type, attention, 0);
    rsr_sequence *sequence = NULL;
    rsr_error err = RSR_ERROR_INIT;
    CHECK_INT(API->sequence_load(engine, path, &sequence, &err), RSR_OK);
    CHECK_STR(err.message, "");
    CHECK_INT(API->sequence_length(sequence), n_tokens);
    CHECK(memcmp(API->sequence_tokens(sequence), tokens, n_tokens * sizeof(*tokens)) == 0);
    CHECK_INT(fake_feed(engine, sequence, tokens + n_tokens, MORE, VOCAB, loaded), RSR_OK);
    CHECK(memcmp(saved, loaded, sizeof(saved)) == 0);
    API->sequence_destroy(sequence);
    API->engine_destroy(engine);
    const struct bytes first = read_bytes(path);
    engine = new_engine(model, kv_type, attention, 0);
    save(engine, n_tokens, saved);
    const struct bytes second = read_bytes(path);
    CHECK(first.n == second.n && memcmp(first.data, second.data, first.n) == 0);
    free(first.data);
    free(second.data);
    API->engine_destroy(engine);
}

/* Every cut, and a changed bit in every byte, is found. */
static void test_damage(rsr_engine *engine) {
    static float logits[MORE * VOCAB];
    save(engine, 70, logits);
    const struct bytes file = read_bytes(path);
    const size_t step = TEST_SANITIZED ? 97 : 53;
    for (size_t i = 0; i < file.n; i += i < sizeof(struct rsr_kv_file_header) + 300 ? 1 : step) {
        write_bytes(damaged, file.data, i);
        refuse(engine, damaged, RSR_ERR_FILE, damaged);
        file.data[i] ^= (uint8_t)(1u << i % 8);
        write_bytes(damaged, file.data, file.n);
        refuse(engine, damaged, RSR_ERR_FILE, damaged);
        file.data[i] ^= (uint8_t)(1u << i % 8);
    }
    file.data[file.n] = 0;
    write_bytes(damaged, file.data, file.n + 1);
    refuse(engine, damaged, RSR_ERR_FILE, "it has grown");
    write_bytes(damaged, file.data, file.n - 1);
    refuse(engine, damaged, RSR_ERR_FILE, "it was cut off");
    file.data[file.n - 20] ^= 1;
    write_bytes(damaged, file.data, file.n);
    refuse(engine, damaged, RSR_ERR_FILE, "keys and values from position 64 on, at byte ");
    free(file.data);
    refuse(engine, folder, RSR_ERR_FILE, "is no saved sequence, and no file");
    refuse(engine, "/nowhere/at/all", RSR_ERR_FILE, "cannot be read: No such file");
    write_bytes(damaged, (const uint8_t *)"It was the best of times, it was the worst", 42);
    refuse(engine, damaged, RSR_ERR_FILE, "is no saved sequence");
}

/* Members changed by an attacker, who also corrected the hashes. */
static void test_hostile(rsr_engine *engine, size_t at, const void *value, size_t n_bytes,
                         rsr_status status, const char *part) {
    struct bytes file = read_bytes(path);
    struct rsr_kv_file_header header;
    struct rsr_hash state;
    memcpy(file.data + at, value, n_bytes);
    memcpy(&header, file.data, sizeof(header));
    rsr_hash_init(&state);
    rsr_hash_update(&state, file.data + sizeof(header), 70 * sizeof(uint32_t));
    rsr_hash_final(&state, header.tokens_hash);
    rsr_kv_file_hash_header(&header, header.hash);
    memcpy(file.data, &header, sizeof(header));
    const uint64_t token_bytes =
        (uint64_t)2 * 2 * 2 * 16 * sizeof(float); /* layers, KV heads, rows */
    uint8_t *page = file.data + sizeof(header) + 70 * sizeof(uint32_t);
    for (uint32_t i = 0; i < 2; i++) {
        const uint64_t n = (i == 0 ? 64 : 6) * token_bytes;
        rsr_kv_file_hash_page(&header, i, page, n, page + n);
        page += n + 16;
    }
    write_bytes(damaged, file.data, file.n);
    refuse(engine, damaged, status, part);
    free(file.data);
}
#define HOSTILE(member, type, number, status, part)                                                \
    test_hostile(engine, offsetof(struct rsr_kv_file_header, member), &(const type){number},       \
                 sizeof(type), status, part)

static void test_strangers(rsr_engine *engine) {
    static float logits[MORE * VOCAB];
    save(engine, 70, logits);
    HOSTILE(version, uint32_t, 1, RSR_ERR_FILE, "has version 1 of the format");
    HOSTILE(header_bytes, uint32_t, 0, RSR_ERR_FILE, "of the format");
    HOSTILE(n_tokens, uint32_t, UINT32_MAX, RSR_ERR_FULL, "has 4294967295 tokens");
    HOSTILE(n_tokens, uint32_t, 69, RSR_ERR_FILE, "has grown");
    HOSTILE(n_tokens, uint32_t, 71, RSR_ERR_FILE, "was cut off");
    HOSTILE(file_bytes, uint64_t, UINT64_MAX, RSR_ERR_FILE, "has grown");
    HOSTILE(token_bytes, uint64_t, UINT64_MAX, RSR_ERR_FILE, "with tokens of another size");
    HOSTILE(n_layers, uint32_t, 0, RSR_ERR_FILE, "with another number of layers");
    HOSTILE(n_kv_heads, uint32_t, 1, RSR_ERR_FILE, "with another number of KV heads");
    HOSTILE(head_dim, uint32_t, 13, RSR_ERR_FILE, "with heads of another size");
    HOSTILE(page_tokens, uint32_t, 128, RSR_ERR_FILE, "with pages of another size");
    HOSTILE(state_tokens, uint32_t, 1, RSR_ERR_FILE, "has a state of 1 tokens, which no sequence");
    HOSTILE(model_hash, uint8_t, 1, RSR_ERR_FILE, "by another model");
    HOSTILE(float_kernels, uint8_t, 1, RSR_ERR_FILE, "other kernels for float activations");
    HOSTILE(compiler_version, char, '9', RSR_ERR_FILE,
            "another version of rsrc compiled ('9', here '0')");
    HOSTILE(state_type, char, 'b', RSR_ERR_FILE, "another state_type ('b', here '')");
    test_hostile(
        engine, offsetof(struct rsr_kv_file_header, attention),
        "ddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"
        "dddddddddddddddddddd",
        96, RSR_ERR_FILE, "by an engine with another attention ('ddd");
    const uint32_t outside = VOCAB;
    test_hostile(engine, sizeof(struct rsr_kv_file_header) + 4 * 69, &outside, 4, RSR_ERR_FILE,
                 "has the token 11 at position 69, outside the vocabulary of 11");
    /* The first element after a head's 12 elements: rows are float32 here, and have 16 elements. */
    test_hostile(engine, sizeof(struct rsr_kv_file_header) + 4 * 70 + 12 * 4, &(const float){1.0f},
                 4, RSR_ERR_FILE, "keys and values from position 0 on");
}

/* Engines that would compute other keys and values. */
static void test_others(rsr_model *model, rsr_model *other) {
    static float logits[MORE * VOCAB];
    rsr_engine *engine = new_engine(model, "f16", "louver:topk:8,min=1", 0);
    save(engine, LENGTH, logits);
    API->engine_destroy(engine);
    engine = new_engine(model, "bf16", "louver:topk:8,min=1", 0);
    refuse(engine, path, RSR_ERR_FILE, "with another kv_type ('f16', here 'bf16')");
    API->engine_destroy(engine);
    engine = new_engine(model, "f16", NULL, 0);
    refuse(engine, path, RSR_ERR_FILE,
           "with another attention ('louver:topk:8,min=1,sinks=0,window=0', here 'dense')");
    API->engine_destroy(engine);
    engine = new_engine(model, "f16", "louver:topk:8,min=1", LENGTH - 1);
    refuse(engine, path, RSR_ERR_FULL, "has 150 tokens, and the engine's context 149");
    API->engine_destroy(engine);
    engine = new_engine(other, "f16", "louver:topk:8,min=1", 0);
    refuse(engine, path, RSR_ERR_FILE, "by another model; evaluate its text again");
    API->engine_destroy(engine);
}

/* A pool that other sequences fill. */
static void test_full(rsr_model *model) {
    static float logits[MORE * VOCAB];
    rsr_engine *engine = new_engine(model, NULL, NULL, LENGTH + MORE);
    save(engine, LENGTH, logits);
    rsr_sequence *a = NULL, *b = NULL;
    CHECK_INT(API->sequence_load(engine, path, &a, NULL), RSR_OK);
    refuse(engine, path, RSR_ERR_FULL, "all 4 KV pages of 64 tokens are taken");
    rsr_prefix_cache *cache = NULL;
    CHECK_INT(API->prefix_cache_create(engine, NULL, &cache, NULL), RSR_OK);
    CHECK_INT(API->prefix_cache_put(cache, a, NULL), RSR_OK);
    API->sequence_destroy(a);
    CHECK_INT(API->sequence_load(engine, path, &b, NULL), RSR_OK); /* takes pages of the cache */
    API->sequence_destroy(b);
    API->prefix_cache_destroy(cache);
    API->engine_destroy(engine);
}

/* A failed write leaves the old file, and no other file. */
static void test_no_space(rsr_engine *engine) {
    static float logits[MORE * VOCAB];
    rsr_sequence *sequence;
    rsr_error err = RSR_ERROR_INIT;
    struct rlimit limit, smaller;
    save(engine, 70, logits);
    const struct bytes before = read_bytes(path);
    CHECK_INT(API->sequence_load(engine, path, &sequence, NULL), RSR_OK);
    CHECK_INT(fake_feed(engine, sequence, tokens, 100, VOCAB, NULL), RSR_OK);
    CHECK_INT(getrlimit(RLIMIT_FSIZE, &limit), 0);
    smaller = (struct rlimit){before.n, limit.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    const uint32_t n_files = count_files();
    CHECK_INT(setrlimit(RLIMIT_FSIZE, &smaller), 0);
    CHECK_INT(API->sequence_save(sequence, path, &err), RSR_ERR_FILE);
    CHECK_INT(setrlimit(RLIMIT_FSIZE, &limit), 0);
    CHECK(strstr(err.message,
                 "cannot be written: File too large; an older file of this name has not changed") !=
          NULL);
    CHECK_INT(count_files(), n_files);
    const struct bytes after = read_bytes(path);
    CHECK(before.n == after.n && memcmp(before.data, after.data, after.n) == 0);
    CHECK_INT(API->sequence_save(sequence, folder, &err), RSR_ERR_FILE);
    CHECK_INT(API->sequence_save(sequence, "/nowhere/at/all", &err), RSR_ERR_FILE);
    CHECK_STR(err.message, "/nowhere/at/all cannot be written: No such file or directory");
    CHECK_INT(API->sequence_save(sequence, NULL, &err), RSR_ERR_ARGUMENT);
    CHECK_INT(API->sequence_load(NULL, path, &sequence, &err), RSR_ERR_ARGUMENT);
    struct stat info;
    CHECK(stat(path, &info) == 0 && (info.st_mode & 0777) == 0600);
    API->sequence_destroy(sequence);
    free(before.data);
    free(after.data);
}

static void *refuse_here(void *engine) {
    refuse(engine, path, RSR_ERR_MEMORY, "rsr_sequence_load takes up to 224 KiB of the calling");
    return NULL;
}

/* The calling thread seals pages, too, on a small stack. */
static void test_small_stack(rsr_model *model) {
    static float logits[MORE * VOCAB];
    static _Alignas(
        4096) char stack[128 << 10]; /* the C library may take a larger one that it kept */
    rsr_engine *engine = new_engine(model, "f32", "louver:topk:8,min=1", 0);
    pthread_attr_t attributes;
    pthread_t thread;
    save(engine, LENGTH, logits);
    CHECK_INT(pthread_attr_init(&attributes), 0);
    CHECK_INT(pthread_attr_setstack(&attributes, stack, sizeof(stack)), 0);
    CHECK_INT(pthread_create(&thread, &attributes, refuse_here, engine), 0);
    CHECK_INT(pthread_join(thread, NULL), 0);
    pthread_attr_destroy(&attributes);
    API->engine_destroy(engine);
}

static void init_model(struct fake_module *fake, uint8_t hash) {
    struct fake_shape shape = fake_small_shape(VOCAB, CONTEXT);
    shape.head_dim = 12; /* rows are padded to 16 */
    fake_module_init(fake, &shape, 1);
    memset(fake->module.model_hash, hash, sizeof(fake->module.model_hash));
}

int main(void) {
    static struct fake_module fake, other_fake;
    static const uint32_t lengths[] = {0, 1, 64, LENGTH, 5 * RSR_PAGE_TOKENS};
    uint64_t state = 3;
    for (uint32_t i = 0; i < CONTEXT; i++)
        tokens[i] = (uint32_t)(check_random(&state) % VOCAB);
    CHECK(mkdtemp(folder) != NULL);
    snprintf(path, sizeof(path), "%s/kv", folder);
    snprintf(damaged, sizeof(damaged), "%s/damaged", folder);
    init_model(&fake, 0xaa);
    init_model(&other_fake, 0xbb);
    rsr_model *model = fake_open(&fake, RSR_OPS_GENERIC);
    rsr_model *other = fake_open(&other_fake, RSR_OPS_GENERIC);
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        test_round_trip(model, "bf16", NULL, lengths[i]);
        test_round_trip(model, "f32", "louver:error:1e-2,min=3,sinks=1", lengths[i]);
        test_round_trip(model, "f16", "louver:topk:8,min=1", lengths[i]);
        test_round_trip(model, "int8", "louver:sample_gap:0.5,3,min=100,window=5", lengths[i]);
    }
    rsr_engine *engine = new_engine(model, "f32", NULL, 0);
    test_damage(engine);
    test_strangers(engine);
    test_no_space(engine);
    API->engine_destroy(engine);
    test_others(model, other);
    test_full(model);
    test_small_stack(model);
    API->close(model);
    API->close(other);
    unlink(path);
    unlink(damaged);
    CHECK_INT(rmdir(folder), 0);
    return CHECK_EXIT();
}
