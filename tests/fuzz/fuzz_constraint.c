/* fuzz_constraint.c - any bytes as a JSON schema ('s' first) or a grammar: refused with a sentence,
 * or a constraint whose masks allow exactly the tokens that its automaton can read, and whose texts
 * can always go on or end. */
#include <stdlib.h>
#include <string.h>

#include "constrain/constrained.h"

#define N_TOKENS 300u
#define N_WORDS ((N_TOKENS + 31) / 32)

/* All bytes, some texts of several, and a stop token. */
static rsr_vocabulary *make_vocabulary(void) {
    static const char *const texts[] = {"{\"",  "\":",  "\": \"", "\",\"", "ab", "abc",
                                        "true", "null", "[1",     "12",    ".5", "\"}",
                                        "\\u0", "]}",   "a\"b",   " a"};
    static char bytes[256];
    struct rsr_token_bytes tokens[N_TOKENS];
    rsr_vocabulary *v = NULL;
    memset(tokens, 0, sizeof(tokens));
    for (uint32_t i = 0; i < N_TOKENS; i++) {
        const uint32_t text = i - 256;
        tokens[i].bytes = "";
        if (i < 256) {
            bytes[i] = (char)i;
            tokens[i] = (struct rsr_token_bytes){&bytes[i], 1, i};
        } else if (text < sizeof(texts) / sizeof(*texts)) {
            tokens[i] = (struct rsr_token_bytes){texts[text], strlen(texts[text]), i};
        }
    }
    const uint32_t stop = N_TOKENS - 1;
    if (rsr_vocabulary_make(tokens, N_TOKENS, &stop, 1, &v, NULL) != RSR_OK)
        abort();
    return v;
}

/* Whether the automaton reads the bytes of a token, one at a time. */
static bool reads(const rsr_constrained *text, const rsr_vocabulary *v, uint32_t token) {
    rsr_constrained *clone = NULL;
    if (rsr_constrained_clone(text, &clone, NULL) != RSR_OK)
        abort();
    bool ok = v->offsets[token] < v->offsets[token + 1];
    for (uint32_t i = v->offsets[token]; i < v->offsets[token + 1] && ok; i++)
        ok = rsr_constrained_advance(clone, (uint8_t)v->bytes[i], NULL) == RSR_OK;
    rsr_constrained_destroy(clone);
    return ok;
}

static void go_through(const rsr_constraint *c, const rsr_vocabulary *v, uint32_t random) {
    rsr_constrained *text = NULL;
    rsr_error err = RSR_ERROR_INIT;
    uint32_t allowed[N_WORDS];
    rsr_status status = rsr_constrained_create(c, &text, &err);
    for (uint32_t step = 0; step < 24 && status == RSR_OK; step++) {
        status = rsr_constrained_allow(text, allowed, N_WORDS, &err);
        if (status != RSR_OK)
            break;
        for (uint32_t i = 256; i < N_TOKENS - 1; i += 1 + step) {
            const bool bit = (allowed[i / 32] >> i % 32 & 1) != 0;
            if (bit != reads(text, v, i))
                abort();
        }
        random = random * 1664525u + 1013904223u;
        uint32_t token = (random >> 8) % N_TOKENS;
        while ((allowed[token / 32] >> token % 32 & 1) == 0)
            token = (token + 1) % N_TOKENS;
        status = rsr_constrained_advance(text, token, &err);
        if (token == N_TOKENS - 1)
            break;
    }
    /* If all bytes are tokens, every begun text can continue or end; a grammar that is too
     * ambiguous is refused. */
    if (status != RSR_OK && (status != RSR_ERR_FULL || err.message[0] == '\0'))
        abort();
    rsr_constrained_destroy(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static rsr_vocabulary *v;
    rsr_constraint *c = NULL;
    rsr_error err = RSR_ERROR_INIT;
    if (!v)
        v = make_vocabulary();
    if (size == 0)
        return 0;
    const rsr_constraint_kind kind =
        data[0] == 's' ? RSR_CONSTRAINT_JSON_SCHEMA : RSR_CONSTRAINT_GRAMMAR;
    const rsr_status status =
        rsr_constraint_create(v, kind, (const char *)data + 1, size - 1, &c, &err);
    if ((status == RSR_OK) != (c != NULL) ||
        (status != RSR_OK && (status != RSR_ERR_ARGUMENT || err.message[0] == '\0')))
        abort();
    if (c) {
        uint32_t random = (uint32_t)size;
        for (size_t i = 0; i < size; i++)
            random = 31 * random + data[i];
        go_through(c, v, random);
    }
    rsr_constraint_destroy(c);
    return 0;
}
