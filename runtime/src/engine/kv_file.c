/* kv_file.c - saves sequences and loads them: kv_file.h has the format.
 *
 * A file may be anything, so everything is checked before it is used. The file is read, not mapped:
 * if somebody truncates a mapped file, the process dies. Pages are read to a buffer and hashed
 * there, before they become keys and values. The caller gets the sequence when all of it is loaded.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine.h"
#include "kv_file.h"
#include "rsr_hash.h"

_Static_assert(sizeof(struct rsr_kv_file_header) == 248, "no padding: files have it");

/* Full pages that are sealed in one turn: for a model of 8 G weights, 16 pages take some ms. */
#define SEALED_PAGES 16u

/* ---- Header ---- */

void rsr_kv_file_hash_header(const struct rsr_kv_file_header *header, uint8_t hash[16]) {
    rsr_hash_record(header, sizeof(*header), offsetof(struct rsr_kv_file_header, hash), hash);
}

void rsr_kv_file_hash_page(const struct rsr_kv_file_header *header, uint64_t number,
                           const void *bytes, uint64_t n_bytes, uint8_t hash[16]) {
    struct rsr_hash state;
    rsr_hash_init(&state);
    rsr_hash_update(&state, header->hash, sizeof(header->hash));
    rsr_hash_update(&state, &number, sizeof(number));
    rsr_hash_update(&state, bytes, n_bytes);
    rsr_hash_final(&state, hash);
}

static void hash_tokens(const struct rsr_sequence *sequence, uint32_t n_tokens, uint8_t hash[16]) {
    struct rsr_hash state;
    rsr_hash_init(&state);
    rsr_hash_update(&state, sequence->tokens, n_tokens * sizeof(*sequence->tokens));
    rsr_hash_final(&state, hash);
}

/* Hashes the kernels with float activations; zeros if there are none. */
static void hash_float_kernels(const struct rsr_target *target, uint8_t hash[16]) {
    struct rsr_hash state;
    rsr_hash_init(&state);
    for (uint32_t i = 0; i < target->n_kernels; i++) {
        const struct rsr_kernel_desc *kernel = &target->kernels[i];
        const uint64_t numbers[] = {kernel->rows,         kernel->cols,          kernel->n_tiles,
                                    kernel->tile_rows,    kernel->tables,        kernel->list,
                                    kernel->weight_bytes, kernel->scratch_bytes, kernel->tile_bytes,
                                    kernel->stream_bytes, kernel->n_streams};
        if (kernel->input != RSR_INPUT_F32)
            continue;
        rsr_hash_update(&state, kernel->name, strlen(kernel->name) + 1);
        rsr_hash_update(&state, numbers, sizeof(numbers));
    }
    if (state.size_bytes != 0) {
        rsr_hash_update(&state, target->name, strlen(target->name));
        rsr_hash_final(&state, hash);
    }
}

static void put_text(char *to, size_t capacity, const char *text) {
    memcpy(to, text, strnlen(text, capacity - 1));
}

/* Counts the bytes of a file; false: more than any file has. */
static bool count_bytes(const rsr_engine *engine, struct rsr_kv_file_header *header) {
    const uint64_t n = header->n_tokens, n_pages = rsr_pages_of(header->n_tokens);
    const uint64_t n_state = header->state_tokens == 0 ? 0 : engine->info.state_bytes + 16;
    return !__builtin_mul_overflow(n, header->token_bytes, &header->file_bytes) &&
           !__builtin_add_overflow(header->file_bytes,
                                   sizeof(*header) + n * sizeof(uint32_t) + n_pages * 16,
                                   &header->file_bytes) &&
           !__builtin_add_overflow(header->file_bytes, n_state, &header->file_bytes) &&
           header->file_bytes <= INT64_MAX;
}

/* The header that the engine writes for a sequence of n_tokens with a state of state_tokens,
 * without hashes. */
static bool describe(const rsr_engine *engine, uint32_t n_tokens, uint32_t state_tokens,
                     struct rsr_kv_file_header *header) {
    const struct rsr_module *module = engine->model->module;
    memset(header, 0, sizeof(*header));
    memcpy(header->magic, RSR_KV_FILE_MAGIC, sizeof(header->magic));
    header->version = RSR_KV_FILE_VERSION;
    header->header_bytes = sizeof(*header);
    memcpy(header->model_hash, module->model_hash, sizeof(header->model_hash));
    put_text(header->compiler_version, sizeof(header->compiler_version), module->compiler_version);
    hash_float_kernels(engine->model->target, header->float_kernels);
    put_text(header->kv_type, sizeof(header->kv_type), engine->info.kv_type);
    if (engine->info.state_type != NULL)
        put_text(header->state_type, sizeof(header->state_type), engine->info.state_type);
    put_text(header->attention, sizeof(header->attention), engine->saved.attention);
    header->n_layers = module->hyper.n_layers;
    header->n_kv_heads = module->hyper.n_kv_heads;
    header->head_dim = module->hyper.head_dim;
    header->page_tokens = RSR_PAGE_TOKENS;
    header->token_bytes = engine->saved.token_bytes;
    header->n_tokens = n_tokens;
    header->state_tokens = state_tokens;
    return count_bytes(engine, header);
}

/* How many tokens page `number` has. */
static uint32_t page_tokens(const struct rsr_kv_file_header *header, uint32_t number) {
    const uint32_t left = header->n_tokens - number * RSR_PAGE_TOKENS;
    return left < RSR_PAGE_TOKENS ? left : RSR_PAGE_TOKENS;
}

/* ---- Saving ---- */

static bool write_all(int fd, const void *bytes, uint64_t n_bytes) {
    for (const char *at = bytes; n_bytes > 0;) {
        const ssize_t n = write(fd, at, n_bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            errno = ENOSPC;
        if (n <= 0)
            return false;
        at += n;
        n_bytes -= (uint64_t)n;
    }
    return true;
}

/* The state of a finished batch never changes, so this needs no turn. */
static bool write_state(const struct rsr_sequence *sequence,
                        const struct rsr_kv_file_header *header, int fd) {
    rsr_engine *engine = sequence->engine;
    const uint64_t n_bytes = engine->info.state_bytes;
    uint8_t hash[16];
    if (header->state_tokens == 0)
        return true;
    void *bytes = malloc(n_bytes); /* errno is ENOMEM if there is none */
    if (bytes == NULL)
        return false;
    engine->backend->save_state(engine, sequence->state.state, bytes);
    rsr_kv_file_hash_page(header, rsr_pages_of(header->n_tokens), bytes, n_bytes, hash);
    const bool ok = write_all(fd, bytes, n_bytes) && write_all(fd, hash, sizeof(hash));
    const int error = errno;
    free(bytes);
    errno = error;
    return ok;
}

/* `page` has room for a page. On failure errno says why. */
static bool write_sequence(const struct rsr_sequence *sequence,
                           const struct rsr_kv_file_header *header, void *page, int fd) {
    rsr_engine *engine = sequence->engine;
    bool ok = write_all(fd, header, sizeof(*header)) &&
              write_all(fd, sequence->tokens, header->n_tokens * sizeof(*sequence->tokens));
    for (uint32_t i = 0; ok && i < rsr_pages_of(header->n_tokens); i++) {
        const uint32_t n = page_tokens(header, i);
        uint8_t hash[16];
        engine->backend->save_page(engine, sequence->pages[i], n, page);
        rsr_kv_file_hash_page(header, i, page, n * header->token_bytes, hash);
        ok = write_all(fd, page, n * header->token_bytes) && write_all(fd, hash, sizeof(hash));
    }
    return ok && write_state(sequence, header, fd) && fsync(fd) == 0;
}

/* Syncs the folder: only then is a new name on the disk. */
static void sync_folder(char *path) {
    char *slash = strrchr(path, '/');
    if (slash != NULL)
        slash[slash == path] = '\0';
    const int fd = open(slash != NULL ? path : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return;
    (void)fsync(fd);
    close(fd);
}

/* Writes to `temporary`, a mkstemp template in the path's folder, and renames it to the path. */
static rsr_status write_file(const struct rsr_sequence *sequence,
                             const struct rsr_kv_file_header *header, void *page, const char *path,
                             char *temporary, rsr_error *err) {
    const int fd = mkostemp(temporary, O_CLOEXEC);
    if (fd < 0)
        return rsr_fail(err, RSR_ERR_FILE, "%s cannot be written: %s", path, strerror(errno));
    const bool written = write_sequence(sequence, header, page, fd);
    int error = errno;
    if (close(fd) == 0 && written && rename(temporary, path) == 0) {
        sync_folder(temporary);
        return RSR_OK;
    }
    error = written ? errno : error;
    (void)unlink(temporary);
    return rsr_fail(err, RSR_ERR_FILE,
                    "%s cannot be written: %s; an older file of this name has not changed", path,
                    strerror(error));
}

static rsr_status check_sequence(struct rsr_sequence *sequence, rsr_error *err) {
    rsr_status status = rsr_check_owner(sequence->engine->owner_pid, err);
    if (status != RSR_OK)
        return status;
    pthread_mutex_lock(&sequence->engine->lock);
    status = rsr_check_idle(sequence, err);
    pthread_mutex_unlock(&sequence->engine->lock);
    return status;
}

rsr_status rsr_api_sequence_save(rsr_sequence *sequence, const char *path, rsr_error *err) {
    if (sequence == NULL || path == NULL)
        return rsr_fail(err, RSR_ERR_ARGUMENT, "rsr_sequence_save: a pointer is NULL");
    rsr_status status = check_sequence(sequence, err);
    if (status != RSR_OK)
        return status;
    if (sequence->engine->saved.token_bytes == 0)
        return rsr_fail(err, RSR_ERR_ARGUMENT, "%s", sequence->engine->saved.refusal);
    struct rsr_kv_file_header header;
    if (!describe(sequence->engine, sequence->length, sequence->state.n_tokens, &header))
        return rsr_fail(err, RSR_ERR_FULL, "no file holds the keys and values of %u tokens",
                        sequence->length);
    hash_tokens(sequence, header.n_tokens, header.tokens_hash);
    rsr_kv_file_hash_header(&header, header.hash);
    static const char suffix[] = ".XXXXXX";
    char *temporary = malloc(strlen(path) + sizeof(suffix));
    void *page = malloc(RSR_PAGE_TOKENS * header.token_bytes);
    if (temporary == NULL || page == NULL) {
        status = rsr_fail(err, RSR_ERR_MEMORY, "no memory to write %s", path);
    } else {
        strcpy(stpcpy(temporary, path), suffix);
        status = write_file(sequence, &header, page, path, temporary, err);
    }
    free(temporary);
    free(page);
    return status;
}

/* ---- Loading ---- */

/* A file that is being loaded. */
struct source {
    const char *path;
    int fd;
    uint64_t file_bytes, at; /* what is read next */
    struct rsr_kv_file_header header;
};

static rsr_status read_next(struct source *source, void *to, uint64_t n_bytes, rsr_error *err) {
    for (char *p = to; n_bytes > 0;) {
        const ssize_t n = pread(source->fd, p, n_bytes, (off_t)source->at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return rsr_fail(err, RSR_ERR_FILE, "%s cannot be read at byte %llu: %s", source->path,
                            (unsigned long long)source->at,
                            n < 0 ? strerror(errno) : "it ends there");
        p += n;
        source->at += (uint64_t)n;
        n_bytes -= (uint64_t)n;
    }
    return RSR_OK;
}

static rsr_status refuse_changed(const struct source *source, const char *part, rsr_error *err) {
    return rsr_fail(err, RSR_ERR_FILE,
                    "%s has changed since it was saved: %s; copy it again, or evaluate its text "
                    "again",
                    source->path, part);
}

/* Members that must have the value that this engine would write, and who wrote the file if one has
 * another. */
#define FACT(member, is_text, saved_by)                                                            \
    {                                                                                              \
        offsetof(struct rsr_kv_file_header, member),                                               \
            sizeof(((struct rsr_kv_file_header *)0)->member), is_text, saved_by                    \
    }
static const struct {
    size_t at, n_bytes;
    bool is_text;
    const char *saved_by;
} facts[] = {
    FACT(model_hash, false, "by another model"),
    FACT(compiler_version, true, "by a model that another version of rsrc compiled"),
    FACT(float_kernels, false,
         "by this model with other kernels for float activations, which round differently"),
    FACT(kv_type, true, "by an engine with another kv_type"),
    FACT(state_type, true, "by an engine with another state_type"),
    FACT(attention, true, "by an engine with another attention"),
    FACT(n_layers, false, "with another number of layers"),
    FACT(n_kv_heads, false, "with another number of KV heads"),
    FACT(head_dim, false, "with heads of another size"),
    FACT(page_tokens, false, "with pages of another size"),
    FACT(token_bytes, false, "with tokens of another size"),
};

static rsr_status check_facts(const struct source *source, const struct rsr_kv_file_header *ours,
                              rsr_error *err) {
    const char *of_file = (const char *)&source->header, *of_engine = (const char *)ours;
    for (size_t i = 0; i < sizeof(facts) / sizeof(facts[0]); i++) {
        const char *a = of_file + facts[i].at, *b = of_engine + facts[i].at;
        if (memcmp(a, b, facts[i].n_bytes) == 0)
            continue;
        char values[256] = "";
        if (facts[i].is_text)
            snprintf(values, sizeof(values), " ('%.*s', here '%s')", (int)facts[i].n_bytes - 1, a,
                     b);
        return rsr_fail(err, RSR_ERR_FILE, "%s was saved %s%s; evaluate its text again",
                        source->path, facts[i].saved_by, values);
    }
    return RSR_OK;
}

static rsr_status read_header(struct source *source, rsr_error *err) {
    struct rsr_kv_file_header *header = &source->header;
    const size_t head = offsetof(struct rsr_kv_file_header, model_hash);
    uint8_t hash[16];
    rsr_status status = RSR_OK;
    if (source->file_bytes >= head)
        status = read_next(source, header, head, err);
    if (status != RSR_OK)
        return status;
    if (memcmp(header->magic, RSR_KV_FILE_MAGIC, sizeof(header->magic)) != 0)
        return rsr_fail(err, RSR_ERR_FILE, "%s is no saved sequence", source->path);
    if (header->version != RSR_KV_FILE_VERSION || header->header_bytes != sizeof(*header))
        return rsr_fail(err, RSR_ERR_FILE,
                        "%s has version %u of the format, and this model reads %u; evaluate its "
                        "text again",
                        source->path, header->version, RSR_KV_FILE_VERSION);
    if (source->file_bytes < sizeof(*header))
        return refuse_changed(source, "it was cut off", err);
    status = read_next(source, (char *)header + head, sizeof(*header) - head, err);
    if (status != RSR_OK)
        return status;
    rsr_kv_file_hash_header(header, hash);
    return memcmp(hash, header->hash, sizeof(hash)) == 0
               ? RSR_OK
               : refuse_changed(source, "its header is damaged", err);
}

/* Checks that the header fits the engine and the file. */
static rsr_status check_header(const struct source *source, const rsr_engine *engine,
                               rsr_error *err) {
    const uint32_t n_tokens = source->header.n_tokens, n_state = source->header.state_tokens;
    struct rsr_kv_file_header ours;
    const bool is_possible = describe(engine, n_tokens, n_state, &ours);
    const rsr_status status = check_facts(source, &ours, err);
    if (status != RSR_OK)
        return status;
    if (n_state > (engine->info.n_states == 0 ? 0 : n_tokens))
        return rsr_fail(err, RSR_ERR_FILE,
                        "%s has a state of %u tokens, which no sequence of this model with %u "
                        "tokens has; evaluate its text again",
                        source->path, n_state, n_tokens);
    if (n_tokens > engine->info.context)
        return rsr_fail(err, RSR_ERR_FULL,
                        "%s has %u tokens, and the engine's context %u; ask for a larger context",
                        source->path, n_tokens, engine->info.context);
    if (is_possible && source->header.file_bytes == ours.file_bytes &&
        source->file_bytes == ours.file_bytes)
        return RSR_OK;
    return refuse_changed(
        source, source->file_bytes < ours.file_bytes ? "it was cut off" : "it has grown", err);
}

static rsr_status read_tokens(struct source *source, struct rsr_sequence *sequence,
                              rsr_error *err) {
    const uint32_t n = source->header.n_tokens,
                   vocab = sequence->engine->model->module->hyper.vocab;
    uint8_t hash[16];
    const rsr_status status =
        read_next(source, sequence->tokens, n * sizeof(*sequence->tokens), err);
    if (status != RSR_OK)
        return status;
    hash_tokens(sequence, n, hash);
    if (memcmp(hash, source->header.tokens_hash, sizeof(hash)) != 0)
        return refuse_changed(source, "its tokens are damaged", err);
    for (uint32_t i = 0; i < n; i++)
        if (sequence->tokens[i] >= vocab)
            return rsr_fail(err, RSR_ERR_FILE,
                            "%s has the token %u at position %u, outside the vocabulary of %u",
                            source->path, sequence->tokens[i], i, vocab);
    return RSR_OK;
}

/* Adds a page without tokens to the sequence. */
static rsr_status add_page(struct rsr_sequence *sequence, rsr_error *err) {
    rsr_engine *engine = sequence->engine;
    pthread_mutex_lock(&engine->lock);
    const uint32_t page = rsr_engine_take_page(engine);
    const rsr_status status = page != RSR_NO_PAGE ? RSR_OK : rsr_fail_no_page(engine, err);
    if (status == RSR_OK)
        sequence->pages[sequence->n_pages++] = page;
    pthread_mutex_unlock(&engine->lock);
    return status;
}

static rsr_status read_page(struct source *source, struct rsr_sequence *sequence, void *bytes,
                            rsr_error *err) {
    rsr_engine *engine = sequence->engine;
    const uint32_t number = sequence->n_pages, n = page_tokens(&source->header, number);
    const uint64_t n_bytes = n * source->header.token_bytes, at = source->at;
    uint8_t hash[16], made[16];
    rsr_status status = add_page(sequence, err);
    if (status == RSR_OK)
        status = read_next(source, bytes, n_bytes, err);
    if (status == RSR_OK)
        status = read_next(source, hash, sizeof(hash), err);
    if (status != RSR_OK)
        return status;
    rsr_kv_file_hash_page(&source->header, number, bytes, n_bytes, made);
    if (memcmp(hash, made, sizeof(hash)) == 0 &&
        engine->backend->load_page(engine, sequence->pages[number], n, bytes))
        return RSR_OK;
    char part[96];
    snprintf(part, sizeof(part), "keys and values from position %u on, at byte %llu, are damaged",
             number * RSR_PAGE_TOKENS, (unsigned long long)at);
    return refuse_changed(source, part, err);
}

/* The sequence owns the state as soon as it is taken, so that a failure releases it. */
static rsr_status read_state(struct source *source, struct rsr_sequence *sequence, rsr_error *err) {
    rsr_engine *engine = sequence->engine;
    const uint64_t n_bytes = engine->info.state_bytes;
    uint8_t hash[16], made[16];
    if (source->header.state_tokens == 0)
        return RSR_OK;
    pthread_mutex_lock(&engine->lock);
    sequence->state.state = rsr_engine_take_state(engine);
    pthread_mutex_unlock(&engine->lock);
    if (sequence->state.state == RSR_NO_PAGE)
        return rsr_fail_no_state(engine, err);
    sequence->state.n_tokens = source->header.state_tokens;
    void *bytes = malloc(n_bytes);
    if (bytes == NULL)
        return rsr_fail(err, RSR_ERR_MEMORY, "no memory to read %s", source->path);
    rsr_status status = read_next(source, bytes, n_bytes, err);
    if (status == RSR_OK)
        status = read_next(source, hash, sizeof(hash), err);
    if (status == RSR_OK) {
        rsr_kv_file_hash_page(&source->header, rsr_pages_of(source->header.n_tokens), bytes,
                              n_bytes, made);
        if (memcmp(hash, made, sizeof(hash)) != 0 ||
            !engine->backend->load_state(engine, sequence->state.state, bytes))
            status = refuse_changed(source, "its recurrent state is damaged", err);
    }
    free(bytes);
    return status;
}

/* Seals full pages, some at a time, so that other callers have their turn in between. */
static rsr_status seal_pages(const struct rsr_sequence *sequence, uint32_t n_full, rsr_error *err) {
    rsr_engine *engine = sequence->engine;
    rsr_status status = RSR_OK;
    if (!engine->saved.has_index)
        return status;
    for (uint32_t i = 0; status == RSR_OK && i < n_full; i += SEALED_PAGES) {
        const uint32_t n = n_full - i < SEALED_PAGES ? n_full - i : SEALED_PAGES;
        rsr_turns_take(&engine->turns);
        status = engine->backend->seal_pages(engine, sequence->pages + i, n, err);
        rsr_turns_give(&engine->turns);
    }
    return status;
}

static rsr_status read_sequence(struct source *source, struct rsr_sequence *sequence,
                                rsr_error *err) {
    const uint32_t n_tokens = source->header.n_tokens;
    rsr_status status = read_tokens(source, sequence, err);
    if (status != RSR_OK)
        return status;
    void *page = malloc(RSR_PAGE_TOKENS * source->header.token_bytes);
    if (page == NULL)
        return rsr_fail(err, RSR_ERR_MEMORY, "no memory to read %s", source->path);
    while (status == RSR_OK && sequence->n_pages < rsr_pages_of(n_tokens))
        status = read_page(source, sequence, page, err);
    free(page);
    if (status == RSR_OK)
        status = read_state(source, sequence, err);
    if (status == RSR_OK)
        status = seal_pages(sequence, n_tokens / RSR_PAGE_TOKENS, err);
    if (status == RSR_OK)
        sequence->length = n_tokens;
    return status;
}

static rsr_status load(struct source *source, rsr_engine *engine, rsr_sequence **sequence,
                       rsr_error *err) {
    rsr_status status = read_header(source, err);
    if (status == RSR_OK)
        status = check_header(source, engine, err);
    if (status != RSR_OK)
        return status;
    struct rsr_sequence *made = rsr_sequence_new(engine, err);
    if (made == NULL)
        return RSR_ERR_MEMORY;
    status = read_sequence(source, made, err);
    if (status == RSR_OK)
        *sequence = made;
    else
        rsr_api_sequence_destroy(made);
    return status;
}

rsr_status rsr_api_sequence_load(rsr_engine *engine, const char *path, rsr_sequence **sequence,
                                 rsr_error *err) {
    if (engine == NULL || path == NULL || sequence == NULL)
        return rsr_fail(err, RSR_ERR_ARGUMENT, "rsr_sequence_load: a pointer is NULL");
    rsr_status status = rsr_check_owner(engine->owner_pid, err);
    if (status != RSR_OK)
        return status;
    if (engine->saved.token_bytes == 0)
        return rsr_fail(err, RSR_ERR_ARGUMENT, "%s", engine->saved.refusal);
    struct source source = {.path = path};
    struct stat info;
    source.fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not block */
    if (source.fd < 0)
        return rsr_fail(err, RSR_ERR_FILE, "%s cannot be read: %s", path, strerror(errno));
    if (fstat(source.fd, &info) != 0 || !S_ISREG(info.st_mode)) {
        status = rsr_fail(err, RSR_ERR_FILE, "%s is no saved sequence, and no file", path);
    } else {
        source.file_bytes = (uint64_t)info.st_size;
        status = load(&source, engine, sequence, err);
    }
    close(source.fd);
    return status;
}
