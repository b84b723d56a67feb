/* accepted_texts.c - prints the texts, made of given pieces, that a constraint accepts.
 *
 *     accepted_texts schema|grammar FILE N PIECE...
 *
 * Texts have up to N pieces. Each is printed on a line in hexadecimal digits after a '='. A text
 * whose beginning the constraint cannot read is not continued, as with masks.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "constrain/constrained.h"

struct search {
    char *const *pieces;
    size_t n_pieces, n_max;
    char text[256];
};

static void check(rsr_status status, const rsr_error *err) {
    if (status == RSR_OK)
        return;
    fprintf(stderr, "accepted_texts: %s\n", err->message);
    exit(1);
}

static void print_hex(const char *bytes, size_t n) {
    putchar('=');
    for (size_t i = 0; i < n; i++)
        printf("%02x", (unsigned char)bytes[i]);
    putchar('\n');
}

static void go_on(struct search *s, const rsr_constrained *text, size_t size, size_t depth) {
    if (rsr_constrained_is_complete(text))
        print_hex(s->text, size);
    for (size_t i = 0; i < s->n_pieces && depth < s->n_max; i++) {
        const size_t n = strlen(s->pieces[i]);
        rsr_constrained *clone = NULL;
        rsr_error err = RSR_ERROR_INIT;
        bool ok = n > 0 && size + n <= sizeof(s->text);
        check(rsr_constrained_clone(text, &clone, &err), &err);
        for (size_t k = 0; k < n && ok; k++)
            ok = rsr_constrained_advance(clone, (uint8_t)s->pieces[i][k], NULL) == RSR_OK;
        if (ok) {
            memcpy(s->text + size, s->pieces[i], n);
            go_on(s, clone, size + n, depth + 1);
        }
        rsr_constrained_destroy(clone);
    }
}

int main(int argc, char **argv) {
    static char source[1 << 20], bytes[256];
    struct rsr_token_bytes tokens[256];
    rsr_error err = RSR_ERROR_INIT;
    rsr_vocabulary *v = NULL;
    rsr_constraint *c = NULL;
    rsr_constrained *text = NULL;
    FILE *file = argc > 4 ? fopen(argv[2], "rb") : NULL;
    if (!file)
        return 1;
    const size_t n = fread(source, 1, sizeof(source), file);
    fclose(file);
    for (uint32_t i = 0; i < 256; i++) {
        bytes[i] = (char)i;
        tokens[i] = (struct rsr_token_bytes){&bytes[i], 1, i};
    }
    const rsr_constraint_kind kind =
        strcmp(argv[1], "schema") == 0 ? RSR_CONSTRAINT_JSON_SCHEMA : RSR_CONSTRAINT_GRAMMAR;
    struct search search = {
        .pieces = argv + 4, .n_pieces = (size_t)argc - 4, .n_max = strtoul(argv[3], NULL, 10)};
    check(rsr_vocabulary_make(tokens, 256, NULL, 0, &v, &err), &err);
    check(rsr_constraint_create(v, kind, source, n, &c, &err), &err);
    check(rsr_constrained_create(c, &text, &err), &err);
    go_on(&search, text, 0, 0);
    rsr_constrained_destroy(text);
    rsr_constraint_destroy(c);
    rsr_vocabulary_destroy(v);
    return 0;
}
