/* The code cache: an entry is found by its whole key, and a directory that holds too much loses the
 * entries used longest ago, and nothing else. */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/cache.h"
#include "check.h"
#include "diag_fixture.h"

#define N_ENTRIES 9
#define HEADER_BYTES 48u /* an entry's, before its content */

/* Modules contain hashes, so the hash function must never change. Hashing data in parts gives the
 * hash of the whole. */
static void test_hash(void) {
    const char *text = "The same bytes, in whatever parts: the same hash.";
    const size_t n = strlen(text);
    uint8_t hash[16];
    char name[RSR_HASH_TEXT_BYTES];
    for (size_t part = 1; part <= n; part++) {
        struct rsr_hash state;
        rsr_hash_init(&state);
        for (size_t at = 0; at < n; at += part)
            rsr_hash_update(&state, text + at, n - at < part ? n - at : part);
        rsr_hash_final(&state, hash);
        rsr_hash_text(hash, name);
        CHECK_STR(name, "9f1adc0b125def28a4b843130da13f5a");
    }
    rsr_hash_record("not hashed: 0123456789abcdef, this is", 37, 12, hash);
    rsr_hash_text(hash, name);
    CHECK_STR(name, "a20625d03b2de5f2552a233c9307ac1a");
    rsr_hash_record("not hashed: fedcba9876543210, this is", 37, 12, hash);
    rsr_hash_text(hash, name);
    CHECK_STR(name, "a20625d03b2de5f2552a233c9307ac1a");
}

static struct rsrc_cache_key key_of(const struct rsrc_cache *cache, const char *kind, const char *a,
                                    const char *b) {
    struct rsr_hash hash;
    rsrc_cache_key_begin(cache, kind, &hash);
    rsrc_cache_key_text(&hash, a, strlen(a));
    rsrc_cache_key_text(&hash, b, strlen(b));
    return rsrc_cache_key_end(&hash);
}

static struct rsrc_cache_key numbered_key(const struct rsrc_cache *cache, uint32_t i) {
    return key_of(cache, "object", (const char[]){(char)('a' + i), '\0'}, "");
}

static bool is_found(struct rsrc_cache *cache, struct rsrc_diag *diag,
                     const struct rsrc_cache_key *key, const char *expected) {
    struct rsrc_buffer bytes = {0};
    const bool found = rsrc_cache_get(cache, diag, key, &bytes);
    CHECK(!found || (bytes.size_bytes == strlen(expected) &&
                     memcmp(bytes.data, expected, bytes.size_bytes) == 0));
    rsrc_buffer_free(&bytes);
    return found;
}

static const char *entry_path(struct fixture *f, const struct rsrc_cache *cache, uint32_t i) {
    const struct rsrc_cache_key key = numbered_key(cache, i);
    char name[RSR_HASH_TEXT_BYTES];
    rsr_hash_text(key.bytes, name);
    return rsrc_arena_printf(&f->arena, "%s/%s.code", cache->dir, name);
}

static void put(struct fixture *f, struct rsrc_cache *cache, uint32_t i) {
    const struct rsrc_cache_key key = numbered_key(cache, i);
    rsrc_cache_put(cache, f->diag, &key, "0123456789", 10);
}

static void test_keys(struct fixture *f, const char *dir) {
    struct rsrc_cache cache;
    CHECK_INT(rsrc_cache_open(f->diag, dir, false, &cache), RSRC_OK);
    const struct rsrc_cache_key key = key_of(&cache, "object", "ab", "c");
    const struct rsrc_cache_key others[] = {key_of(&cache, "object", "a", "bc"),
                                            key_of(&cache, "object", "ab", "d"),
                                            key_of(&cache, "objects", "ab", "c")};
    CHECK(!is_found(&cache, f->diag, &key, ""));
    rsrc_cache_put(&cache, f->diag, &key, "kept", 4);
    CHECK(is_found(&cache, f->diag, &key, "kept"));
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        CHECK(!is_found(&cache, f->diag, &others[i], ""));
    cache.maker[15]++; /* another program's */
    const struct rsrc_cache_key foreign = key_of(&cache, "object", "ab", "c");
    CHECK(!is_found(&cache, f->diag, &foreign, ""));
    rsrc_cache_close(&cache, 0);
    CHECK_INT(rsrc_cache_open(f->diag, dir, false, &cache), RSRC_OK);
    CHECK(!is_found(&cache, f->diag, &key, "")); /* none may stay */
    rsrc_cache_close(&cache, 0);
}

/* Entry i was used at second and nanosecond used[i]; number 1, the oldest, is used again. */
static void test_eviction(struct fixture *f, const char *dir) {
    static const struct timespec used[N_ENTRIES] = {{1000, 500}, {998, 900},  {1000, 400},
                                                    {999, 999},  {1001, 0},   {1000, 450},
                                                    {1000, 350}, {1000, 550}, {1000, 300}};
    static const bool stays[N_ENTRIES] = {true, true, false, false, true, true, false, true, false};
    struct rsrc_cache cache;
    CHECK_INT(rsrc_cache_open(f->diag, dir, false, &cache), RSRC_OK);
    const char *stranger = rsrc_arena_printf(&f->arena, "%s/notes.code", dir);
    const char *folder =
        rsrc_arena_printf(&f->arena, "%s/00000000000000000000000000000000.code", dir);
    FILE *file = fopen(stranger, "w");
    CHECK(file != NULL && fputs("not an entry, and large", file) >= 0);
    if (file != NULL)
        fclose(file);
    CHECK_INT(mkdir(folder, 0777), 0);
    for (uint32_t i = 0; i < N_ENTRIES; i++) {
        put(f, &cache, i);
        const struct timespec times[2] = {used[i], used[i]};
        CHECK_INT(utimensat(AT_FDCWD, entry_path(f, &cache, i), times, 0), 0);
    }
    const struct rsrc_cache_key again = numbered_key(&cache, 1);
    CHECK(is_found(&cache, f->diag, &again, "0123456789"));
    rsrc_cache_close(&cache, 5 * (HEADER_BYTES + 10));

    CHECK_INT(rsrc_cache_open(f->diag, dir, true, &cache), RSRC_OK);
    for (uint32_t i = 0; i < N_ENTRIES; i++)
        CHECK_INT(access(entry_path(f, &cache, i), F_OK) == 0, stays[i]);
    put(f, &cache, 2); /* only to read */
    CHECK(access(entry_path(f, &cache, 2), F_OK) != 0);
    rsrc_cache_close(&cache, 0);
    CHECK_INT(rsrc_cache_open(f->diag, dir, false, &cache), RSRC_OK);
    CHECK(access(entry_path(f, &cache, 4), F_OK) ==
          0); /* a user that adds nothing removes nothing */
    put(f, &cache, 2);
    rsrc_cache_close(&cache, 0);
    CHECK_INT(access(stranger, F_OK), 0);
    CHECK_INT(unlink(stranger), 0);
    CHECK_INT(rmdir(folder), 0);
}

int main(void) {
    char dir[] = "/tmp/rsrc-test-cache-XXXXXX";
    struct fixture f;
    setup(&f);
    CHECK(mkdtemp(dir) != NULL);
    test_hash();
    test_keys(&f, dir);
    test_eviction(&f, dir);
    CHECK_INT(rmdir(dir), 0); /* nothing else is left in it */
    CHECK_STR(f.text == NULL ? "" : f.text, "");
    teardown(&f);
    return CHECK_EXIT();
}
