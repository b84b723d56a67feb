/* text_damage.h - damages printed text forms. A parser must read the damaged text, or refuse it
 * with a diagnostic that says where and why. */
#ifndef TESTS_UNIT_TEXT_DAMAGE_H
#define TESTS_UNIT_TEXT_DAMAGE_H

#include "check.h"
#include "diag_fixture.h"

typedef enum rsrc_status text_parser(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                     const char *text, size_t size_bytes);

/* Replaces the first `from` of the text and expects a message with its place. */
static inline void expect_damage_refused(text_parser *parse, const char *text, const char *from,
                                         const char *to, const char *place, const char *message) {
    const char *at = strstr(text, from);
    CHECK(at != NULL);
    if (at == NULL)
        return;
    struct fixture f;
    setup(&f);
    const char *damaged =
        rsrc_arena_printf(&f.arena, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    CHECK_INT(parse(f.diag, &f.arena, damaged, strlen(damaged)), RSRC_FAILED);
    const bool as_expected = strstr(f.text, place) != NULL && strstr(f.text, message) != NULL;
    if (!as_expected)
        fprintf(stderr, "got: %s\nnot: %s %s\n", f.text, place, message);
    CHECK(as_expected);
    teardown(&f);
}

/* Changes every byte, and in every second case cuts the text there: the text is refused with a
 * diagnostic, or read. */
static inline void check_any_damage(text_parser *parse, const char *text, uint64_t seed) {
    const size_t n_bytes = strlen(text);
    for (size_t i = 0; i < n_bytes; i++) {
        struct fixture f;
        setup(&f);
        char *damaged = rsrc_arena_strdup(&f.arena, text);
        damaged[i] = (char)(check_random(&seed) >> 40);
        const enum rsrc_status status = parse(f.diag, &f.arena, damaged, i % 2 == 0 ? i : n_bytes);
        CHECK((status == RSRC_OK) == (rsrc_diag_error_count(f.diag) == 0));
        teardown(&f);
    }
}

#endif
