/* test_base.c - arenas, buffers and escapers, hash, output files, spawning, diagnostics. */
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "rsr_hash.h"
#include "base/mapped_file.h"
#include "base/spawn.h"
#include "base/sweep.h"
#include "check.h"
#include "diag.h"

static void test_arena(void) {
    struct rsrc_arena arena;
    rsrc_arena_init(&arena);
    uint64_t seed = 7;
    for (int i = 0; i < 2000; i++) {
        const size_t n = check_random(&seed) % (i % 100 == 0 ? 200000 : 300);
        unsigned char *p = rsrc_arena_alloc(&arena, n);
        CHECK((uintptr_t)p % (n >= 64 ? 64 : 16) == 0);
        size_t dirty = 0;
        for (size_t j = 0; j < n; j++)
            dirty += p[j] != 0;
        CHECK_INT(dirty, 0);
        memset(p, 0xff, n); /* an overlap would show up as dirt above */
    }
    CHECK_STR(rsrc_arena_printf(&arena, "%s-%d", "a", 7), "a-7");
    CHECK_STR(rsrc_arena_strndup(&arena, "abcdef", 3), "abc");
    rsrc_arena_free(&arena);
}

static void test_escapers(void) {
    struct rsrc_buffer b = {0};
    rsrc_buffer_put_c_string(&b, "a\"b\\c\n\x1b?\?/\xff"
                                 "0");
    CHECK_STR(b.data, "\"a\\\"b\\\\c\\012\\033\\077\\077/\\3770\"");
    rsrc_buffer_clear(&b);
    rsrc_buffer_put_comment(&b, "x */ y /* z\\\n?\?/");
    CHECK_STR(b.data, "x <2a>/ y <2f>* z<5c><0a><3f><3f>/");
    rsrc_buffer_clear(&b);
    rsrc_buffer_put_json(&b, "q\"\\\x01\xc3\xa9");
    CHECK_STR(b.data, "\"q\\\"\\\\\\u0001\xc3\xa9\"");
    rsrc_buffer_clear(&b);
    rsrc_buffer_put_terminal(&b, "\x1b[31mred\x7f");
    CHECK_STR(b.data, "\\x1b[31mred\\x7f");
    /* U+00C0, U+2018 and U+10348 are valid. C1, a continuation byte alone, cut and overlong forms,
     * a surrogate and numbers above U+10FFFF are not. */
    static const char valid[] = "\xc3\x80\xe2\x80\x98\xf0\x90\x8d\x88";
    static const char *const invalid[] = {
        "\xc2\x9b",        "\x9b",         "\xe9",         "\xe2\x80",
        "\xc0\xaf",        "\xe0\x80\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80",
        "\xf0\x80\x80\x80"};
    rsrc_buffer_clear(&b);
    rsrc_buffer_put_terminal(&b, valid);
    CHECK_STR(b.data, valid);
    for (size_t i = 0; i < sizeof(invalid) / sizeof(invalid[0]); i++) {
        rsrc_buffer_clear(&b);
        rsrc_buffer_put_terminal(&b, invalid[i]);
        CHECK(b.size_bytes == 4 * strlen(invalid[i]) && strncmp(b.data, "\\x", 2) == 0);
        rsrc_buffer_clear(&b);
        rsrc_buffer_put_json(&b, invalid[i]);
        CHECK(b.size_bytes == 6 * strlen(invalid[i]) + 2);
    }
    rsrc_buffer_free(&b);
}

static void hash_in_pieces(const uint8_t *bytes, size_t n, uint64_t *seed, uint8_t out[16]) {
    struct rsr_hash hash;
    rsr_hash_init(&hash);
    for (size_t at = 0; at < n;) {
        size_t take = check_random(seed) % 40;
        if (take > n - at)
            take = n - at;
        rsr_hash_update(&hash, bytes + at, take);
        at += take;
    }
    rsr_hash_final(&hash, out);
}

/* Modules and caches store hashes, so the hash function must never change. */
static void test_hash_stays(void) {
    static const uint8_t EXPECTED[16] = {0x53, 0x9f, 0x5a, 0xcb, 0xfe, 0x15, 0xba, 0x3c,
                                         0x51, 0xc7, 0xf5, 0xd3, 0x27, 0x1d, 0xee, 0x14};
    struct rsr_hash hash;
    uint8_t out[16];
    rsr_hash_init(&hash);
    rsr_hash_update(&hash, "In the beginning was the hash.", 30);
    rsr_hash_final(&hash, out);
    CHECK(memcmp(out, EXPECTED, 16) == 0);
}

static void test_hash(void) {
    uint8_t bytes[500];
    uint64_t seed = 3;
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)check_random(&seed);
    for (size_t n = 0; n < sizeof(bytes); n += 7) {
        uint8_t one[16], two[16], other[16];
        hash_in_pieces(bytes, n, &seed, one);
        hash_in_pieces(bytes, n, &seed, two);
        CHECK(memcmp(one, two, 16) == 0);
        hash_in_pieces(bytes, n + 1, &seed, other); /* a zero tail is not the same as no tail */
        CHECK(memcmp(one, other, 16) != 0);
        bytes[n / 2] ^= 1;
        hash_in_pieces(bytes, n + 1, &seed, two);
        CHECK(memcmp(other, two, 16) != 0);
    }
}

static void test_did_you_mean(void) {
    static const char *const NAMES[] = {"avx2", "avx512", "generic"};
    CHECK_STR(rsrc_did_you_mean("avx51", NAMES, 3), "avx512");
    CHECK_STR(rsrc_did_you_mean("geenric", NAMES, 3), "generic");
    CHECK_STR(rsrc_did_you_mean("avx51=a value", NAMES, 3), "avx512");
    CHECK(rsrc_did_you_mean("powerpc", NAMES, 3) == NULL);
}

static void test_output_files(struct rsrc_diag *diag, struct rsrc_arena *arena) {
    const char *dir = NULL, *inner = NULL;
    CHECK(rsrc_scratch_dir(diag, arena, "test_base", &dir) == RSRC_OK);
    const char *given = getenv("TMPDIR");
    const char *kept = given != NULL ? rsrc_arena_strdup(arena, given) : NULL;
    CHECK_INT(setenv("TMPDIR", dir, 1), 0);
    CHECK(rsrc_scratch_dir(diag, arena, "inner", &inner) == RSRC_OK);
    CHECK(strncmp(inner, dir, strlen(dir)) == 0 && inner[strlen(dir)] == '/');
    rsrc_remove_flat_dir(inner);
    CHECK(access(inner, F_OK) != 0);
    CHECK_INT(kept != NULL ? setenv("TMPDIR", kept, 1) : unsetenv("TMPDIR"), 0);
    const char *path = rsrc_arena_printf(arena, "%s/out", dir);
    struct rsrc_output out;
    CHECK(rsrc_output_open(diag, arena, path, &out) == RSRC_OK);
    CHECK(rsrc_output_write(diag, &out, "hello", 5) == RSRC_OK);
    CHECK(access(path, F_OK) != 0);
    CHECK(rsrc_output_commit(diag, &out) == RSRC_OK);
    struct rsrc_mapping mapping;
    CHECK(rsrc_map_file(diag, arena, path, &mapping) == RSRC_OK);
    CHECK_INT(mapping.size_bytes, 5);
    CHECK(memcmp(mapping.data, "hello", 5) == 0);
    rsrc_unmap_file(&mapping);
    CHECK(rsrc_output_open(diag, arena, path, &out) == RSRC_OK);
    const char *abandoned = rsrc_arena_strdup(arena, out.temporary);
    CHECK(access(abandoned, F_OK) == 0);
    rsrc_output_abandon(&out);
    CHECK(access(abandoned, F_OK) != 0);
    CHECK(rsrc_map_file(diag, arena, dir, &mapping) == RSRC_FAILED);
    rsrc_remove_temporaries();
    CHECK(access(dir, F_OK) != 0);
}

static void test_spawn(struct rsrc_diag *diag, struct rsrc_arena *arena, FILE *messages) {
    const char *const good[] = {"true", NULL}, *const bad[] = {"ls", "/nowhere-at-all", NULL};
    const char *const missing[] = {"no-such-program-here", NULL};
    struct rsrc_spawn_usage usage = {0};
    const struct rsrc_spawn_options three = {.n_jobs = 3, .usage = &usage};
    const struct rsrc_spawn_options dry = {.n_jobs = 3, .dry_run = true};
    struct rsrc_command commands[8];
    for (int i = 0; i < 8; i++)
        commands[i] = (struct rsrc_command){.argv = good};
    CHECK(rsrc_spawn_all(diag, arena, commands, 8, &three) == RSRC_OK);
    CHECK_INT(usage.n_commands, 8);
    CHECK(usage.wall_s > 0 && usage.peak_bytes > 0);
    commands[5].argv = bad;
    CHECK(rsrc_spawn_all(diag, arena, commands, 8, &dry) == RSRC_OK);
    const long before = ftell(messages);
    CHECK(rsrc_spawn_all(diag, arena, commands, 8, &three) == RSRC_FAILED);
    char text[512] = {0};
    fseek(messages, before, SEEK_SET);
    CHECK(fread(text, 1, sizeof(text) - 1, messages) > 0);
    CHECK(strstr(text, "ls failed with exit status 2") != NULL);
    CHECK(strstr(text, "nowhere-at-all") != NULL);
    commands[5].argv = missing;
    CHECK(rsrc_spawn_all(diag, arena, commands, 8, &three) == RSRC_FAILED);
    CHECK(rsrc_find_program(arena, "sh") != NULL);
    CHECK(rsrc_find_program(arena, "/tmp") == NULL); /* a directory cannot be run */
    CHECK(rsrc_find_program(arena, "no-such-program-here") == NULL);
}

static void test_diagnostics(void) {
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);
    struct rsrc_diag *diag = rsrc_diag_create(stream, false, RSRC_COLOR_NEVER);
    const struct rsrc_place place = {
        .file = "a.yaml", .line = 3, .column = 5, .source_line = "isa: foo\n"};
    rsrc_error(diag, "spec-key", &place, "use features", "unknown key '%s'", "isa\x1b");
    const struct rsrc_place tensor = {
        .file = "m.safetensors", .has_offset = true, .offset = 0x1a40, .tensor = "w"};
    rsrc_warning(diag, "t", &tensor, NULL, "odd%s", "\nrsrc: error: forged");
    rsrc_diag_emit(diag, RSRC_REMARK, "plan", NULL, NULL, "dropped");
    CHECK(rsrc_diag_show_remarks(diag, RSRC_REMARK, "^pl"));
    rsrc_diag_emit(diag, RSRC_REMARK, "plan", NULL, NULL, "shown");
    rsrc_diag_emit(diag, RSRC_REMARK, "emit", NULL, NULL, "dropped");
    rsrc_diag_emit(diag, RSRC_REMARK_MISSED, "plan", NULL, NULL, "dropped");
    CHECK(rsrc_diag_show_remarks(diag, RSRC_REMARK_MISSED, "plan"));
    rsrc_diag_emit(diag, RSRC_REMARK_MISSED, "plan", NULL, NULL, "shown");
    CHECK_INT(rsrc_diag_error_count(diag), 1);
    rsrc_diag_destroy(diag);
    fclose(stream);
    CHECK_STR(text,
              "a.yaml:3:5: error: unknown key 'isa\\x1b' [spec-key]\n"
              "    isa: foo\n        ^\n  help: use features\n"
              "m.safetensors:0x1a40: warning: tensor 'w': odd\n    | rsrc: error: forged [t]\n"
              "rsrc: remark: shown [plan]\nrsrc: missed: shown [plan]\n");
    free(text);
}

/* Held messages are printed when their holders are closed, in the order of closing, or not at all.
 * Their errors count from then on. */
static void test_held_diagnostics(void) {
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);
    struct rsrc_diag *diag = rsrc_diag_create(stream, false, RSRC_COLOR_NEVER);
    CHECK(rsrc_diag_show_remarks(diag, RSRC_REMARK, "plan"));
    struct rsrc_diag *first = rsrc_diag_hold(diag), *second = rsrc_diag_hold(diag);
    struct rsrc_diag *third = rsrc_diag_hold(diag);
    rsrc_error(third, "t", NULL, NULL, "dropped");
    rsrc_error(second, "t", NULL, NULL, "second");
    rsrc_diag_emit(first, RSRC_REMARK, "plan", NULL, NULL, "first");
    rsrc_diag_emit(first, RSRC_REMARK, "emit", NULL, NULL, "dropped");
    CHECK_INT(rsrc_diag_error_count(diag), 0);
    rsrc_diag_close_held(first, true);
    rsrc_diag_close_held(second, true);
    rsrc_diag_close_held(third, false);
    CHECK_INT(rsrc_diag_error_count(diag), 1);
    rsrc_diag_destroy(diag);
    fclose(stream);
    CHECK_STR(text, "rsrc: remark: first [plan]\nrsrc: error: second [t]\n");
    free(text);
}

/* The line above a caret has one column for each byte, and no byte that a terminal would obey. */
static void test_caret_bytes(void) {
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);
    struct rsrc_diag *diag = rsrc_diag_create(stream, false, RSRC_COLOR_NEVER);
    const struct rsrc_place place = {
        .file = "f", .line = 1, .column = 8, .source_line = "a\x1b\x7f\x9b\xc3\xa9 x"};
    rsrc_error(diag, "t", &place, NULL, "m");
    rsrc_diag_destroy(diag);
    fclose(stream);
    CHECK_STR(text, "f:1:8: error: m [t]\n    a ???? x\n           ^\n");
    free(text);
}

int main(void) {
    struct rsrc_arena arena;
    rsrc_arena_init(&arena);
    FILE *messages = tmpfile();
    if (messages == NULL)
        return 1;
    struct rsrc_diag *diag = rsrc_diag_create(messages, false, RSRC_COLOR_NEVER);
    test_arena();
    test_escapers();
    test_hash();
    test_hash_stays();
    test_did_you_mean();
    test_diagnostics();
    test_held_diagnostics();
    test_caret_bytes();
    test_output_files(diag, &arena);
    test_spawn(diag, &arena, messages);
    rsrc_diag_destroy(diag);
    fclose(messages);
    rsrc_arena_free(&arena);
    return CHECK_EXIT();
}
