/* cache.c - entries of the code cache: files that are whole, checked and bounded. */
#include "cache/cache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mapped_file.h"
#include "base/sweep.h"

#define SUFFIX ".code"
static const char MAGIC[8] = "RSRCODE1";

struct header {
    char magic[8];
    uint64_t size_bytes; /* of what follows */
    uint8_t key[16];
    uint8_t hash[16]; /* of what follows */
};

/* ---- keys ------------------------------------------------------------------------------------ */

void rsrc_cache_key_text(struct rsr_hash *hash, const void *text, size_t n_bytes) {
    const uint64_t length = n_bytes;
    rsr_hash_update(hash, &length, sizeof(length));
    rsr_hash_update(hash, text, n_bytes);
}

void rsrc_cache_key_program(struct rsr_hash *hash, const char *path) {
    struct stat info = {0};
    (void)stat(path, &info);
    const int64_t facts[3] = {(int64_t)info.st_size, (int64_t)info.st_mtim.tv_sec,
                              (int64_t)info.st_mtim.tv_nsec};
    rsrc_cache_key_text(hash, path, strlen(path));
    rsr_hash_update(hash, facts, sizeof(facts));
}

/* LLVM is one of the libraries. */
static int add_library(struct dl_phdr_info *info, size_t size, void *hash) {
    (void)size;
    if (info->dlpi_name != NULL && info->dlpi_name[0] == '/')
        rsrc_cache_key_program(hash, info->dlpi_name);
    return 0;
}

static void identify_maker(uint8_t out[16]) {
    struct rsr_hash hash;
    rsr_hash_init(&hash);
    rsrc_cache_key_text(&hash, RSRC_VERSION, sizeof(RSRC_VERSION));
    rsrc_cache_key_program(&hash, "/proc/self/exe");
    dl_iterate_phdr(add_library, &hash);
    rsr_hash_final(&hash, out);
}

void rsrc_cache_key_begin(const struct rsrc_cache *cache, const char *kind, struct rsr_hash *hash) {
    rsr_hash_init(hash);
    rsrc_cache_key_text(hash, kind, strlen(kind));
    rsr_hash_update(hash, cache->maker, sizeof(cache->maker));
}

struct rsrc_cache_key rsrc_cache_key_end(const struct rsr_hash *hash) {
    struct rsrc_cache_key key;
    rsr_hash_final(hash, key.bytes);
    return key;
}

/* ---- entries --------------------------------------------------------------------------------- */

static const char *entry_path(const struct rsrc_cache *cache, const struct rsrc_cache_key *key,
                              struct rsrc_arena *arena) {
    char name[RSR_HASH_TEXT_BYTES];
    rsr_hash_text(key->bytes, name);
    return rsrc_arena_printf(arena, "%s/%s%s", cache->dir, name, SUFFIX);
}

static void hash_bytes(const void *bytes, size_t n_bytes, uint8_t out[16]) {
    struct rsr_hash hash;
    rsr_hash_init(&hash);
    rsr_hash_update(&hash, bytes, n_bytes);
    rsr_hash_final(&hash, out);
}

/* Says what is wrong with an entry; NULL: nothing. */
static const char *find_damage(const struct rsrc_cache_key *key, const struct rsrc_buffer *file) {
    struct header header;
    if (file->size_bytes == 0)
        return "it cannot be read, or is empty";
    if (file->size_bytes < sizeof(header))
        return "it is cut";
    memcpy(&header, file->data, sizeof(header));
    if (memcmp(header.magic, MAGIC, sizeof(MAGIC)) != 0 ||
        memcmp(header.key, key->bytes, sizeof(header.key)) != 0)
        return "it is not an entry of that name";
    if (header.size_bytes != file->size_bytes - sizeof(header))
        return "it is cut";
    uint8_t hash[16];
    hash_bytes(file->data + sizeof(header), (size_t)header.size_bytes, hash);
    return memcmp(hash, header.hash, sizeof(hash)) == 0 ? NULL : "its bytes have changed";
}

/* The entry is read, not mapped, because another process may truncate it meanwhile. False: there is
 * none. An entry that is not a regular file reads as empty, without waiting for it. */
static bool read_file(const char *path, struct rsrc_buffer *out) {
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat info;
    if (fd < 0)
        return errno != ENOENT;
    FILE *file = fstat(fd, &info) == 0 && S_ISREG(info.st_mode) ? fdopen(fd, "rb") : NULL;
    if (file == NULL) {
        close(fd);
        return true;
    }
    char chunk[1 << 16];
    size_t n;
    while ((n = fread(chunk, 1, sizeof(chunk), file)) != 0 &&
           out->size_bytes <= RSRC_CACHE_MAX_BYTES)
        rsrc_buffer_append(out, chunk, n);
    fclose(file);
    return true;
}

bool rsrc_cache_get(struct rsrc_cache *cache, struct rsrc_diag *diag,
                    const struct rsrc_cache_key *key, struct rsrc_buffer *out) {
    if (cache->dir == NULL)
        return false;
    struct rsrc_arena arena;
    rsrc_arena_init(&arena);
    const char *path = entry_path(cache, key, &arena);
    struct rsrc_buffer file = {0};
    bool found = false;
    if (read_file(path, &file)) {
        const char *damage = find_damage(key, &file);
        found = damage == NULL;
        if (found) {
            rsrc_buffer_append(out, file.data + sizeof(struct header),
                               file.size_bytes - sizeof(struct header));
            (void)utimensat(AT_FDCWD, path, NULL, 0); /* marks it as just used */
        } else {
            const struct rsrc_place place = {.file = path};
            rsrc_diag_emit(diag, RSRC_REMARK_MISSED, "cache", &place, NULL,
                           "the entry is not used: %s", damage);
        }
    }
    rsrc_buffer_free(&file);
    rsrc_arena_free(&arena);
    return found;
}

static enum rsrc_status store(struct rsrc_diag *diag, struct rsrc_arena *arena, const char *path,
                              const struct header *header, const void *bytes, size_t n_bytes) {
    struct rsrc_output file;
    if (rsrc_output_open(diag, arena, path, &file) != RSRC_OK)
        return RSRC_FAILED;
    if (rsrc_output_write(diag, &file, header, sizeof(*header)) == RSRC_OK &&
        rsrc_output_write(diag, &file, bytes, n_bytes) == RSRC_OK)
        return rsrc_output_commit(diag, &file);
    rsrc_output_abandon(&file);
    return RSRC_FAILED;
}

void rsrc_cache_put(struct rsrc_cache *cache, struct rsrc_diag *diag,
                    const struct rsrc_cache_key *key, const void *bytes, size_t n_bytes) {
    if (cache->dir == NULL || cache->read_only)
        return;
    struct header header = {.size_bytes = n_bytes};
    memcpy(header.magic, MAGIC, sizeof(MAGIC));
    memcpy(header.key, key->bytes, sizeof(header.key));
    hash_bytes(bytes, n_bytes, header.hash);
    struct rsrc_arena arena;
    rsrc_arena_init(&arena);
    const char *path = entry_path(cache, key, &arena);
    /* A full cache disk is no error of the compilation. */
    struct rsrc_diag *quiet = rsrc_diag_hold(diag);
    const bool stored = store(quiet, &arena, path, &header, bytes, n_bytes) == RSRC_OK;
    rsrc_diag_close_held(quiet, false);
    if (stored) {
        pthread_mutex_lock(&cache->lock);
        cache->n_stored++;
        pthread_mutex_unlock(&cache->lock);
    } else {
        const struct rsrc_place place = {.file = path};
        rsrc_diag_emit(diag, RSRC_REMARK_MISSED, "cache", &place, NULL,
                       "the entry cannot be stored");
    }
    rsrc_arena_free(&arena);
}

/* ---- the directory --------------------------------------------------------------------------- */

/* Makes the directory and its parents: a new machine may have no ~/.cache. */
static bool make_directory(const char *dir) {
    char *path = strdup(dir);
    if (path == NULL)
        rsrc_out_of_memory(strlen(dir) + 1);
    for (char *at = path; *at != '\0'; at++)
        if (*at == '/' && at > path) {
            *at = '\0';
            (void)mkdir(path, 0777); /* the last attempt says whether it succeeded */
            *at = '/';
        }
    free(path);
    return mkdir(dir, 0777) == 0 || errno == EEXIST;
}

enum rsrc_status rsrc_cache_open(struct rsrc_diag *diag, const char *dir, bool read_only,
                                 struct rsrc_cache *out) {
    *out = (struct rsrc_cache){0};
    pthread_mutex_init(&out->lock, NULL);
    if (dir == NULL)
        return RSRC_OK;
    const struct rsrc_place place = {.file = dir};
    struct stat info;
    if ((!read_only && !make_directory(dir)) || (stat(dir, &info) == 0 && !S_ISDIR(info.st_mode)))
        return rsrc_refuse(diag, "cache-unusable", &place, "name a directory with --cache-dir",
                           "cannot be used as a cache: %s",
                           strerror(errno != EEXIST ? errno : ENOTDIR));
    if (!read_only) {
        struct rsrc_arena arena;
        rsrc_arena_init(&arena);
        rsrc_sweep(rsrc_arena_printf(&arena, "%s/", dir));
        rsrc_arena_free(&arena);
    }
    out->dir = dir;
    out->read_only = read_only;
    identify_maker(out->maker);
    return RSRC_OK;
}

struct entry {
    char *path;
    uint64_t size_bytes;
    struct timespec used;
};

static int compare_entries(const void *a, const void *b) {
    const struct entry *x = a, *y = b;
    if (x->used.tv_sec != y->used.tv_sec)
        return x->used.tv_sec < y->used.tv_sec ? -1 : 1;
    if (x->used.tv_nsec != y->used.tv_nsec)
        return x->used.tv_nsec < y->used.tv_nsec ? -1 : 1;
    return strcmp(x->path, y->path);
}

static bool is_entry(const char *name) {
    const size_t n = strlen(name);
    return n == 32 + sizeof(SUFFIX) - 1 && strcmp(name + 32, SUFFIX) == 0;
}

/* Oldest first. An entry that vanishes meanwhile was removed by another compilation. */
static uint32_t list_entries(const struct rsrc_cache *cache, struct rsrc_arena *arena,
                             struct entry **out) {
    struct entry *entries = NULL;
    uint32_t n = 0, capacity = 0;
    DIR *dir = opendir(cache->dir);
    const struct dirent *found;
    while (dir != NULL && (found = readdir(dir)) != NULL) {
        char *path = rsrc_arena_printf(arena, "%s/%s", cache->dir, found->d_name);
        struct stat info;
        if (!is_entry(found->d_name) || lstat(path, &info) != 0 || !S_ISREG(info.st_mode))
            continue;
        entries = rsrc_arena_grown(arena, entries, n, &capacity, sizeof(*entries));
        entries[n++] = (struct entry){path, (uint64_t)info.st_size, info.st_mtim};
    }
    if (dir != NULL)
        closedir(dir);
    if (n != 0)
        qsort(entries, n, sizeof(*entries), compare_entries);
    *out = entries;
    return n;
}

void rsrc_cache_close(struct rsrc_cache *cache, uint64_t max_bytes) {
    if (cache->n_stored != 0) {
        struct rsrc_arena arena;
        rsrc_arena_init(&arena);
        struct entry *entries = NULL;
        const uint32_t n = list_entries(cache, &arena, &entries);
        uint64_t total = 0;
        for (uint32_t i = 0; i < n; i++)
            total += entries[i].size_bytes;
        for (uint32_t i = 0; i < n && total > max_bytes; i++) {
            (void)unlink(entries[i].path);
            total -= entries[i].size_bytes;
        }
        rsrc_arena_free(&arena);
    }
    pthread_mutex_destroy(&cache->lock);
    cache->dir = NULL;
}
