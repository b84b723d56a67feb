/* test_constraint.c - constrained texts: what is accepted and refused, and that masks allow exactly
 * the tokens that the automaton can read.
 *
 * tests/constrain compares the meaning of schemas and grammars with Python's jsonschema and re.
 * This file compares numbers with their values, for all short texts, and masks with steps of single
 * bytes, for random vocabularies.
 */
#include <stdlib.h>
#include <time.h>

#include "check.h"
#include "constrain/constrained.h"

/* A vocabulary of all single bytes, then tokens of several bytes; the stop token is the last
 * one. */
struct tokens {
    struct rsr_token_bytes list[1 << 15];
    char bytes[1 << 19];
    size_t size;
    uint32_t n;
};

static void add_token(struct tokens *t, const void *bytes, size_t n) {
    memcpy(t->bytes + t->size, bytes, n);
    t->list[t->n] = (struct rsr_token_bytes){t->bytes + t->size, n, t->n};
    t->n++;
    t->size += n;
}

static void begin_tokens(struct tokens *t) {
    t->n = 0;
    t->size = 0;
    for (int i = 0; i < 256; i++) {
        const char byte = (char)i;
        add_token(t, &byte, 1);
    }
}

static rsr_vocabulary *make_vocabulary(struct tokens *t) {
    rsr_vocabulary *v = NULL;
    rsr_error err = RSR_ERROR_INIT;
    add_token(t, "", 0);
    const uint32_t stop = t->n - 1;
    CHECK_INT(rsr_vocabulary_make(t->list, t->n, &stop, 1, &v, &err), RSR_OK);
    return v;
}

static rsr_vocabulary *byte_vocabulary(void) {
    static struct tokens t;
    begin_tokens(&t);
    return make_vocabulary(&t);
}

static rsr_constraint *compile(const rsr_vocabulary *v, rsr_constraint_kind kind,
                               const char *text) {
    rsr_constraint *c = NULL;
    rsr_error err = RSR_ERROR_INIT;
    if (rsr_constraint_create(v, kind, text, strlen(text), &c, &err) != RSR_OK)
        fprintf(stderr, "  %s\n  of %s\n", err.message, text);
    CHECK(c != NULL);
    return c;
}

/* Whether the whole text is accepted. *n_read receives how many of its bytes can begin an accepted
 * text. */
static bool accepts(const rsr_constraint *c, const char *bytes, size_t n, size_t *n_read) {
    rsr_constrained *text = NULL;
    size_t i = 0;
    if (rsr_constrained_create(c, &text, NULL) != RSR_OK)
        return false;
    while (i < n && rsr_constrained_advance(text, (uint8_t)bytes[i], NULL) == RSR_OK)
        i++;
    const bool accepted = i == n && rsr_constrained_is_complete(text);
    rsr_constrained_destroy(text);
    if (n_read)
        *n_read = i;
    return accepted;
}

/* ---- Refusals -------------------------------------------------------------------------------- */

struct refusal {
    const char *text, *message;
};

static void check_refusals(const rsr_vocabulary *v, rsr_constraint_kind kind,
                           const struct refusal *refusals, size_t n) {
    for (size_t i = 0; i < n; i++) {
        rsr_error err = RSR_ERROR_INIT;
        rsr_constraint *c = NULL;
        const rsr_status status =
            rsr_constraint_create(v, kind, refusals[i].text, strlen(refusals[i].text), &c, &err);
        CHECK_INT(status, RSR_ERR_ARGUMENT);
        CHECK_STR(err.message, refusals[i].message);
        rsr_constraint_destroy(c);
    }
}

#define ANYTHING                                                                                   \
    "a schema without \"type\", \"enum\", \"const\", \"anyOf\" or \"$ref\" allows anything; say "  \
    "what"

static void test_schema_refusals(const rsr_vocabulary *v) {
    static const struct refusal refusals[] = {
        {"", "the schema's JSON has what is no value at byte 0"},
        {"{\"type\":\"string\",\"type\":\"string\"}",
         "the schema's JSON has the same key twice at byte 23"},
        {"true", "the schema's #: a schema must be an object here"},
        {"{}", "the schema's #: " ANYTHING},
        {"{\"description\":\"x\"}", "the schema's #: " ANYTHING},
        {"{\"type\":\"text\"}", "the schema's #: \"type\" is no type of JSON: \"text\""},
        {"{\"type\":[]}", "the schema's #: \"type\" is an empty array"},
        {"{\"type\":7}", "the schema's #: \"type\" is no type of JSON:"},
        {"{\"type\":\"string\",\"minimum\":1}",
         "the schema's #: its type or other keywords do not go with \"minimum\""},
        {"{\"type\":\"integer\",\"maxLength\":1}",
         "the schema's #: its type or other keywords do not go with \"maxLength\""},
        {"{\"anyOf\":[{\"type\":\"null\"}],\"type\":\"null\"}",
         "the schema's #: its type or other keywords do not go with \"type\""},
        {"{\"enum\":[1],\"minimum\":0}",
         "the schema's #: its type or other keywords do not go with \"minimum\""},
        {"{\"enum\":[1],\"const\":1}",
         "the schema's #: \"enum\" and \"const\" together; remove one"},
        {"{\"enum\":[]}", "the schema's #: \"enum\" or \"const\" has no value of the type"},
        {"{\"enum\":1}", "the schema's #: \"enum\" is no array"},
        {"{\"type\":\"string\",\"enum\":[1]}",
         "the schema's #: \"enum\" or \"const\" has no value of the type"},
        {"{\"anyOf\":[]}", "the schema's #/anyOf: \"anyOf\" is no array, or an empty one"},
        {"{\"anyOf\":[{\"type\":\"null\"},{\"not\":{}}]}",
         "the schema's #/anyOf/1: the constraint knows no keyword \"not\""},
        {"{\"$ref\":\"#/$defs/x\"}",
         "the schema's #: \"$ref\" names something that does not exist: \"#/$defs/x\""},
        {"{\"$ref\":\"other.json\"}",
         "the schema's #: \"$ref\" is not \"#\" or \"#/...\" of this schema: \"other.json\""},
        {"{\"$ref\":\"#x\"}",
         "the schema's #: \"$ref\" is not \"#\" or \"#/...\" of this schema: \"#x\""},
        {"{\"$ref\":1}", "the schema's #: \"$ref\" is no string"},
        {"{\"$ref\":\"#\"}", "a $ref leads back to itself without a value in between"},
        {"{\"$ref\":\"#\",\"type\":\"null\"}",
         "the schema's #: its type or other keywords do not go with \"type\""},
        {"{\"type\":\"object\"}",
         "the schema's #: an object without \"properties\" allows anything; say what"},
        {"{\"type\":\"object\",\"properties\":[]}", "the schema's #: \"properties\" is no object"},
        {"{\"type\":\"object\",\"properties\":{\"a/b~\":{}}}",
         "the schema's #/properties/a~1b~0: " ANYTHING},
        {"{\"type\":\"object\",\"properties\":{},\"required\":[\"a\"]}",
         "the schema's #: \"required\" names something that is not in \"properties\": \"a\""},
        {"{\"type\":\"object\",\"properties\":{},\"required\":true}",
         "the schema's #: \"required\" is no array"},
        {"{\"type\":\"object\",\"additionalProperties\":true}",
         "the schema's #: \"additionalProperties\": true allows anything; give a schema, or false"},
        {"{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"null\"}},"
         "\"additionalProperties\":{\"type\":\"null\"}}",
         "the schema's #: \"additionalProperties\" with a schema beside \"properties\""},
        {"{\"type\":\"array\"}",
         "the schema's #: an array without \"items\" allows anything; say what"},
        {"{\"type\":\"array\",\"items\":[]}",
         "the schema's #/items: a schema must be an object here"},
        {"{\"type\":\"array\",\"items\":{\"type\":\"null\"},\"minItems\":2,\"maxItems\":1}",
         "the schema's #: nothing is that long: below the minimum is \"maxItems\""},
        {"{\"type\":\"string\",\"minLength\":-1}",
         "the schema's #: no count from 0 to 4294967294 is \"minLength\""},
        {"{\"type\":\"string\",\"maxLength\":1.5}",
         "the schema's #: no count from 0 to 4294967294 is \"maxLength\""},
        {"{\"type\":\"string\",\"maxLength\":true}",
         "the schema's #: no count from 0 to 4294967294 is \"maxLength\""},
        {"{\"type\":\"number\",\"exclusiveMinimum\":true}",
         "the schema's #: no number is \"exclusiveMinimum\""},
        {"{\"type\":\"number\",\"minimum\":0.00000000001}",
         "the schema's #: a bound has more than 9 digits after the point, the limit with bounds"},
        {"{\"type\":\"number\",\"minimum\":12345678.12345678}",
         "the schema's #: a bound has more than 7 digits after the point, the limit with bounds"},
        {"{\"type\":\"integer\",\"minimum\":2,\"maximum\":1}",
         "the schema's #: no integer of at most 18 digits is within the bounds"},
        {"{\"type\":\"integer\",\"minimum\":0.1,\"exclusiveMaximum\":1}",
         "the schema's #: no integer of at most 18 digits is within the bounds"},
        {"{\"type\":\"integer\",\"minimum\":1e30}",
         "the schema's #: no integer of at most 18 digits is within the bounds"},
        {"{\"type\":\"number\",\"exclusiveMinimum\":1,\"maximum\":1}",
         "the schema's #: no number as the constraint writes them is within the bounds"},
        {"{\"type\":\"array\",\"minItems\":1,\"items\":{\"$ref\":\"#\"}}",
         "the constraint has no text that ends within 64 levels"},
        {"{\"anyOf\":[{\"type\":\"null\",\"$schema\":\"x\"}]}",
         "the schema's #/anyOf/0: in the middle of a schema there is \"$schema\""},
    };
    check_refusals(v, RSR_CONSTRAINT_JSON_SCHEMA, refusals, sizeof(refusals) / sizeof(*refusals));
}

/* All keywords of the drafts 4 to 2020-12 outside the subset, and some keywords of other
 * dialects. */
static void test_unknown_keywords(const rsr_vocabulary *v) {
    static const char *const keywords[] = {"oneOf",
                                           "allOf",
                                           "not",
                                           "if",
                                           "then",
                                           "else",
                                           "dependentSchemas",
                                           "dependentRequired",
                                           "dependencies",
                                           "prefixItems",
                                           "additionalItems",
                                           "unevaluatedItems",
                                           "unevaluatedProperties",
                                           "contains",
                                           "minContains",
                                           "maxContains",
                                           "uniqueItems",
                                           "patternProperties",
                                           "propertyNames",
                                           "minProperties",
                                           "maxProperties",
                                           "multipleOf",
                                           "pattern",
                                           "format",
                                           "contentEncoding",
                                           "contentMediaType",
                                           "contentSchema",
                                           "$anchor",
                                           "$dynamicRef",
                                           "$dynamicAnchor",
                                           "$recursiveRef",
                                           "$recursiveAnchor",
                                           "$vocabulary",
                                           "id",
                                           "divisibleBy",
                                           "disallow",
                                           "extends",
                                           "nullable",
                                           "discriminator",
                                           "xml",
                                           "example",
                                           "Type",
                                           ""};
    static const char *const types[] = {"object\",\"properties\":{},\"x",
                                        "array\",\"items\":{\"type\":\"null\"},\"x", "string",
                                        "number", "null"};
    for (size_t i = 0; i < sizeof(keywords) / sizeof(*keywords); i++)
        for (size_t k = 0; k < sizeof(types) / sizeof(*types); k++) {
            char schema[256], message[256];
            const bool has_x = k < 2;
            snprintf(schema, sizeof(schema), "{\"%s\":1,\"type\":\"%.*s\"}", keywords[i],
                     (int)(strlen(types[k]) - (has_x ? 3 : 0)), types[k]);
            if (has_x) /* the message ends with what the type needs */
                schema[strlen(schema) - 2] = '}', schema[strlen(schema) - 1] = 0;
            snprintf(message, sizeof(message),
                     "the schema's #: the constraint knows no keyword%s%s%s",
                     keywords[i][0] ? " \"" : "", keywords[i], keywords[i][0] ? "\"" : "");
            const struct refusal refusal = {schema, message};
            check_refusals(v, RSR_CONSTRAINT_JSON_SCHEMA, &refusal, 1);
        }
}

static void test_grammar_refusals(const rsr_vocabulary *v) {
    static const struct refusal refusals[] = {
        {"", "the grammar has no rule \"root\", which line 1 uses"},
        {"root", "the grammar has no rule (name ::= ...) in line 1"},
        {"root ::= a\nb ::= \"b\"", "the grammar has no rule \"a\", which line 1 uses"},
        {"root ::= \"a\"\nroot ::= \"b\"", "the grammar has a rule for the second time in line 2"},
        {"root ::= root \"a\" | \"b\"", "a rule begins with itself (left recursion) in line 1"},
        {"root ::= a\n a ::= b? a \"x\"\nb ::= \"b\"",
         "a rule begins with itself (left recursion) in line 2"},
        {"root ::= \"a\" root", "the constraint has no text that ends within 256 levels"},
        {"root ::= (\"a\"?)*", "line 1 repeats something that may be empty"},
        {"root ::=\n a+\na ::= \"a\" | ", "line 2 repeats something that may be empty"},
        {"root ::= (\"a\"", "the grammar has a bracket without its end in line 1"},
        {"root ::= \"a\")", "the grammar has a bracket that was not opened in line 1"},
        {"root ::= \"a", "the grammar has a text or class without its end in line 1"},
        {"root ::= [a", "the grammar has a text or class without its end in line 1"},
        {"root ::= []", "the grammar has an empty class in line 1"},
        {"root ::= [b-a]", "the grammar has a range that ends before it begins in line 1"},
        {"root ::= [^\\U00000000-\\U0010FFFF]",
         "the grammar has a class of no character in line 1"},
        {"root ::= \"\\q\"", "the grammar has an escape that is outside the subset in line 1"},
        {"root ::= \"\\x0g\"",
         "the grammar has an escape with too few hexadecimal digits in line 1"},
        {"root ::= \"\\uD800\"", "the grammar has an escape that is no code point in line 1"},
        {"root ::= \"a\"{2,1}",
         "the grammar has a repetition that is not {n}, {n,} or {n,m} in line 1"},
        {"root ::= \"a\"{}",
         "the grammar has a repetition without a count, or with too large a one in line 1"},
        {"root ::= \"a\"{4294967295}",
         "the grammar has a repetition without a count, or with too large a one in line 1"},
        {"root ::= \"a\"**", "the grammar has something outside the subset of GBNF in line 1"},
        {"root ::= <think>", "the grammar has something outside the subset of GBNF in line 1"},
        {"root ::= \"a\" # x\n ! \"b\"",
         "the grammar has something outside the subset of GBNF in line 2"},
        {"root ::= \"\xff\"", "the grammar is longer than 1 MiB, or no UTF-8"},
    };
    check_refusals(v, RSR_CONSTRAINT_GRAMMAR, refusals, sizeof(refusals) / sizeof(*refusals));
}

/* ---- Bounds ---------------------------------------------------------------------------------- */

/* `open` n times, `middle`, `close` n times. Owned by the caller. */
static char *nested(size_t n, const char *open, const char *middle, const char *close) {
    char *text = malloc(n * (strlen(open) + strlen(close)) + strlen(middle) + 1), *at = text;
    for (size_t i = 0; i < n; i++)
        at = stpcpy(at, open);
    at = stpcpy(at, middle);
    for (size_t i = 0; i < n; i++)
        at = stpcpy(at, close);
    return text;
}

static void check_hostile(const rsr_vocabulary *v, rsr_constraint_kind kind, char *text,
                          const char *message) {
    rsr_error err = RSR_ERROR_INIT;
    rsr_constraint *c = NULL;
    const clock_t begin = clock();
    const rsr_status status = rsr_constraint_create(v, kind, text, strlen(text), &c, &err);
    const double seconds = (double)(clock() - begin) / CLOCKS_PER_SEC;
    CHECK_INT(status, message ? RSR_ERR_ARGUMENT : RSR_OK);
    CHECK_STR(err.message, message ? message : "");
    CHECK(seconds < (TEST_SANITIZED ? 60 : 10));
    rsr_constraint_destroy(c);
    free(text);
}

static void test_hostile(const rsr_vocabulary *v) {
    const rsr_constraint_kind schema = RSR_CONSTRAINT_JSON_SCHEMA, gbnf = RSR_CONSTRAINT_GRAMMAR;
    check_hostile(v, schema, nested(100000, "{\"anyOf\":[", "{\"type\":\"null\"}", "]}"),
                  "the schema is longer than 1 MiB, or no UTF-8");
    check_hostile(v, schema, nested(1000, "{\"anyOf\":[", "{\"type\":\"null\"}", "]}"),
                  "the schema's JSON has too many brackets in each other at byte 249");
    check_hostile(v, schema,
                  nested(24, "{\"type\":\"array\",\"items\":", "{\"type\":\"null\"}", "}"), NULL);
    check_hostile(v, gbnf, nested(65, "(", "\"a\"", ")"),
                  "the grammar has no rule (name ::= ...) in line 1");
    char *inside = nested(65, "(", "\"a\"", ")"), *text = malloc(1000);
    check_hostile(v, gbnf, strcat(strcpy(text, "root ::= "), inside),
                  "the grammar has too many brackets in each other in line 1");
    free(inside);
    /* Large counts take no memory, because they are stored as numbers. */
    check_hostile(v, schema, strdup("{\"type\":\"string\",\"minLength\":4294967294}"), NULL);
    check_hostile(v, gbnf, strdup("root ::= ((\"a\"{4000000000}){4000000000}){4000000000}"), NULL);
    inside = nested(200000, "\"a\"|", "\"b\"", "");
    text = malloc(strlen(inside) + 16);
    check_hostile(v, gbnf, strcat(strcpy(text, "root ::= "), inside),
                  "the constraint has too many parts; make it smaller");
    free(inside);
    /* 20,000 rules; each refers to the next one, and only the last one ends. */
    text = malloc(1 << 20);
    char *at = stpcpy(text, "root ::= r0\n");
    for (int i = 0; i < 20000; i++)
        at += sprintf(at, "r%d ::= \"a\" r%d | \"b\"\n", i, i + 1);
    strcpy(at, "r20000 ::= \"c\"");
    check_hostile(v, gbnf, text, NULL);
    text = malloc(1 << 20);
    at = stpcpy(text, "root ::= r0\n");
    for (int i = 0; i < 40000; i++)
        at += sprintf(at, "r%d ::= \"b\"\n", i);
    check_hostile(v, gbnf, text, "the grammar has more than 32768 rules in line 32769");
}

/* Texts at, below and above the largest depth that is read. */
static void check_depth(const rsr_constraint *c, const char *open, const char *middle,
                        const char *close, size_t deepest) {
    for (size_t depth = deepest - 1; depth <= deepest + 1; depth++) {
        char *text = nested(depth, open, middle, close);
        CHECK_INT(accepts(c, text, strlen(text), NULL), depth <= deepest);
        free(text);
    }
}

static void test_depth(const rsr_vocabulary *v) {
    rsr_constraint *c = compile(v, RSR_CONSTRAINT_JSON_SCHEMA,
                                "{\"anyOf\":[{\"type\":\"null\"},"
                                "{\"type\":\"array\",\"items\":{\"$ref\":\"#\"}}]}");
    check_depth(c, "[", "null", "]", 64);
    rsr_constraint_destroy(c);
    c = compile(v, RSR_CONSTRAINT_GRAMMAR, "root ::= \"(\" root \")\" | \"x\"");
    check_depth(c, "(", "x", ")", 256);
    rsr_constraint_destroy(c);
    /* Right recursion does not count as depth. */
    c = compile(v, RSR_CONSTRAINT_GRAMMAR, "root ::= \"a\" root | \"x\"");
    char *text = nested(5000, "a", "x", "");
    CHECK(accepts(c, text, 5001, NULL));
    free(text);
    /* A long text keeps in memory only what is open. */
    rsr_constraint_destroy(c);
    c = compile(v, RSR_CONSTRAINT_GRAMMAR, "root ::= (\"a\" (\"b\" \"c\"){1,9000} ){2,100000}");
    rsr_constrained *state = NULL;
    CHECK_INT(rsr_constrained_create(c, &state, NULL), RSR_OK);
    for (int i = 0; i < 21000; i++)
        CHECK_INT(rsr_constrained_advance(state, (uint8_t) "abcbcbc"[i % 7], NULL), RSR_OK);
    CHECK(state->levels.n < 4096);
    CHECK(rsr_constrained_is_complete(state));
    rsr_constrained_destroy(state);
    rsr_constraint_destroy(c);
}

/* ---- Accepted texts -------------------------------------------------------------------------- */

/* Each text must be accepted or, with a '!' before it, refused. */
static void check_texts(const rsr_vocabulary *v, rsr_constraint_kind kind, const char *source,
                        const char *const *texts) {
    rsr_constraint *c = compile(v, kind, source);
    for (; c && *texts; texts++) {
        const bool accepted = (*texts)[0] != '!';
        const char *text = *texts + !accepted;
        if (accepts(c, text, strlen(text), NULL) != accepted)
            fprintf(stderr, "  '%s' of %s\n", text, source);
        CHECK_INT(accepts(c, text, strlen(text), NULL), accepted);
    }
    rsr_constraint_destroy(c);
}

#define TEXTS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void test_schemas(const rsr_vocabulary *v) {
    const rsr_constraint_kind schema = RSR_CONSTRAINT_JSON_SCHEMA;
    check_texts(v, schema, "{\"type\":\"string\",\"minLength\":2,\"maxLength\":3}",
                TEXTS("\"ab\"", "\"abc\"", "!\"a\"", "!\"abcd\"", "\"\\\"\\u00e4\"",
                      "\"\xc3\xa4\xf0\x9f\x98\x80\"", "\"\\ud83d\\ude00x\"", "!\"\\ud83d\\ude00\"",
                      "!\"\\ud83dxx\"", "!\"\\ude00x\"", "!\"a\nb\"", "!\"\xff\xffz\"",
                      "!\"\xed\xa0\x80z\"", "!\"\xc0\x80z\"", "!\"a\\xb\"", "!\"ab", "!ab"));
    check_texts(
        v, schema,
        "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\"},"
        "\"b\\\"\":{\"type\":\"boolean\"},\"c\":{\"type\":\"null\"}},\"required\":[\"b\\\"\"]}",
        TEXTS("{\"b\\\"\":true}", "{\"a\":1,\"b\\\"\":false}", "{\"b\\\"\": true, \"c\": null}",
              "{\"a\": -7, \"b\\\"\":true,\"c\":null}", "!{\"a\":1}", "!{}",
              "!{\"b\\\"\":true,\"a\":1}", "!{\"b\\\"\":  true}", "!{ \"b\\\"\":true}",
              "!{\"b\\\"\":true,}", "!{\"b\\\"\":true,\"d\":1}"));
    check_texts(v, schema, "{\"type\":\"object\",\"properties\":{}}", TEXTS("{}", "!{ }"));
    check_texts(
        v, schema,
        "{\"type\":\"object\",\"additionalProperties\":{\"type\":\"integer\",\"minimum\":1}}",
        TEXTS("{}", "{\"\":1}", "{\"x\": 1, \"y\":22}", "!{\"x\":0}", "!{\"x\":1,}"));
    check_texts(
        v, schema,
        "{\"type\":\"array\",\"items\":{\"type\":\"boolean\"},\"minItems\":1,\"maxItems\":3}",
        TEXTS("[true]", "[true, false]", "[true,true,true]", "![]", "![true,true,true,true]",
              "![true true]", "![true,]"));
    check_texts(v, schema, "{\"type\":\"array\",\"items\":{\"type\":\"null\"},\"maxItems\":0}",
                TEXTS("[]", "![null]"));
    check_texts(v, schema,
                "{\"enum\":[\"a\",\"ab\",1,10,1.5,null,{\"k\":[1,\"\\u0001\\n\"]},true,1e300]}",
                TEXTS("\"a\"", "\"ab\"", "1", "10", "1.5", "null", "{\"k\":[1,\"\\u0001\\n\"]}",
                      "true", "1e+300", "!\"b\"", "!100", "!false"));
    check_texts(v, schema, "{\"type\":[\"integer\",\"null\"],\"enum\":[1,null,\"x\",2.0]}",
                TEXTS("1", "null", "2.0", "!\"x\""));
    check_texts(v, schema, "{\"type\":[\"string\",\"null\"],\"maxLength\":1,\"title\":\"t\"}",
                TEXTS("null", "\"\"", "\"x\"", "!\"xy\""));
    check_texts(
        v, schema, "{\"type\":\"number\"}",
        TEXTS("0", "-0.5", "12.25", "1e5", "1.5E-07", "!01", "!1.", "!.5", "!+1", "!1e", "!-"));
    check_texts(
        v, schema,
        "{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\",\"$id\":\"x\","
        "\"$ref\":\"#/$defs/a~1b/anyOf/1\",\"$defs\":{\"a/b\":{\"anyOf\":[{},{\"const\":3}]}}}",
        TEXTS("3", "!4"));
    check_texts(
        v, schema,
        "{\"type\":\"object\",\"properties\":{\"v\":{\"type\":\"integer\"},\"n\":{\"anyOf\":"
        "[{\"$ref\":\"#\"},{\"type\":\"null\"}]}},\"required\":[\"v\",\"n\"]}",
        TEXTS("{\"v\":1,\"n\":null}", "{\"v\":1,\"n\":{\"v\":2,\"n\":null}}",
              "!{\"v\":1,\"n\":{\"v\":2}}"));
}

static void test_grammars(const rsr_vocabulary *v) {
    const rsr_constraint_kind gbnf = RSR_CONSTRAINT_GRAMMAR;
    check_texts(v, gbnf, "root ::= \"\"", TEXTS("", "!x"));
    check_texts(v, gbnf,
                "# c\nroot ::= a | b # c\n  | \"x\"\na ::= \"a\"\n\nb ::= [b-c]+ (\"-\" a)?",
                TEXTS("a", "b", "cb", "b-a", "x", "!", "!b-", "!ba"));
    check_texts(v, gbnf, "root ::= [^a\\x62-]{2,3} \"\\u00e4\\n\" .",
                TEXTS("xy\xc3\xa4\nq", "x\xf0\x9f\x98\x80z\xc3\xa4\n\xc3\xa4", "!x\xc3\xa4\nq",
                      "!ay\xc3\xa4\nq", "!x-\xc3\xa4\nq", "!xy\xc3\xa4\n\xff"));
    check_texts(v, gbnf, "root ::= (\"ab\"){2} \"c\"{0} \"d\"{1,} (\"e\" | \"f\"){0,2}",
                TEXTS("ababd", "ababddef", "!abd", "!ababcd", "!ababdefe", "!abab"));
    check_texts(v, gbnf, "root ::= e\ne ::= t ((\"+\" | \"-\") t)*\nt ::= [0-9]+ | \"(\" e \")\"",
                TEXTS("1+2", "(1-(22))+3", "!1+", "!(1", "!1)"));
    check_texts(v, gbnf, "root ::= [a-z]* \"end\" | \"e\" [0-9]",
                TEXTS("end", "endend", "xend", "e5", "!en", "!e", "!end5"));
}

/* ---- Numbers --------------------------------------------------------------------------------- */

/* All texts of up to 5 of these bytes. */
static const char digits[] = "-0123459.";

static bool is_number(const char *text, bool is_integer) {
    const char *at = text + (*text == '-'), *begin = at;
    at += strspn(at, "0123456789");
    if (at == begin || (*begin == '0' && at > begin + 1))
        return false;
    if (*at == '.' && !is_integer) {
        begin = ++at;
        at += strspn(at, "0123456789");
        if (at == begin)
            return false;
    }
    return *at == '\0' && !(text[0] == '-' && strspn(text, "-0.") == strlen(text));
}

static void check_numbers(const rsr_vocabulary *v, bool is_integer, const char *min_name,
                          const char *min, const char *max_name, const char *max) {
    char schema[256], text[8];
    size_t at = (size_t)snprintf(schema, sizeof(schema), "{\"type\":\"%s\"",
                                 is_integer ? "integer" : "number"),
           n_wrong = 0;
    if (min)
        at += (size_t)snprintf(schema + at, sizeof(schema) - at, ",\"%s\":%s", min_name, min);
    if (max)
        at += (size_t)snprintf(schema + at, sizeof(schema) - at, ",\"%s\":%s", max_name, max);
    strcpy(schema + at, "}");
    rsr_error err = RSR_ERROR_INIT;
    rsr_constraint *c = NULL;
    const rsr_status status =
        rsr_constraint_create(v, RSR_CONSTRAINT_JSON_SCHEMA, schema, strlen(schema), &c, &err);
    const size_t n_digits = strlen(digits);
    size_t n_within = 0, n_texts = 1, n_dead = 0;
    for (size_t length = 1; length <= 5; length++) {
        n_texts *= n_digits;
        for (size_t i = 0; i < n_texts; i++) {
            size_t rest = i;
            for (size_t k = 0; k < length; k++, rest /= n_digits)
                text[k] = digits[rest % n_digits];
            text[length] = '\0';
            const double x = strtod(text, NULL), low = min ? strtod(min, NULL) : 0,
                         high = max ? strtod(max, NULL) : 0;
            const bool within = is_number(text, is_integer) &&
                                (!min || (min_name[0] == 'e' ? x > low : x >= low)) &&
                                (!max || (max_name[0] == 'e' ? x < high : x <= high));
            size_t n_read = 0;
            n_within += within;
            if (c && accepts(c, text, length, &n_read) != within && n_wrong++ < 3)
                fprintf(stderr, "  %s of %s\n", text, schema);
            n_dead += c && n_read < length;
        }
    }
    CHECK_INT(n_wrong, 0);
    CHECK_INT(status, n_within > 0 ? RSR_OK : RSR_ERR_ARGUMENT);
    CHECK(n_dead > 0 || !c);
    rsr_constraint_destroy(c);
}

static void test_numbers(const rsr_vocabulary *v) {
    static const char *const bounds[] = {NULL,  "-4593", "-10", "-3.25", "-0.04", "0",
                                         "0.5", "1",     "9.9", "12",    "305.5", "4321"};
    const size_t n = sizeof(bounds) / sizeof(*bounds);
    for (size_t a = 0; a < n; a++)
        for (size_t b = 0; b < n; b++) {
            if (TEST_SANITIZED && (a + 3 * b) % 7 != 0)
                continue; /* all pairs would take a minute with sanitizers */
            const bool exclusive = (a ^ b) % 2 != 0;
            check_numbers(v, a % 3 == 0, exclusive ? "exclusiveMinimum" : "minimum", bounds[a],
                          b % 3 == 0 ? "exclusiveMaximum" : "maximum", bounds[b]);
            check_numbers(v, a % 3 != 0, "minimum", bounds[a], "maximum", bounds[b]);
        }
}

/* ---- Masks ----------------------------------------------------------------------------------- */

static uint64_t next_random(uint64_t *state) {
    *state += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t z = *state;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static const char *const sources[] = {
    "{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\",\"minLength\":3,"
    "\"maxLength\":9},"
    "\"tags\":{\"type\":\"array\",\"items\":{\"enum\":[\"red\",\"green\",\"re\",12,125]},"
    "\"maxItems\":4},"
    "\"n\":{\"type\":\"number\",\"minimum\":-2.5,\"maximum\":120},\"b\":{\"type\":\"boolean\"}},"
    "\"required\":[\"n\"]}",
    "{\"anyOf\":[{\"type\":\"string\",\"maxLength\":4},{\"type\":\"string\",\"minLength\":2},"
    "{\"enum\":[\"abc\",\"ab\\\"\"]},{\"type\":\"array\",\"items\":{\"$ref\":\"#\"}}]}",
    "root ::= [a-e ]* \"end\" | word (\" \" word){2,3} \".\"\nword ::= [a-z]{1,3}",
    "root ::= .{2,} \"\\\"\" [^\"]*",
    "root ::= expr\nexpr ::= term ([+,] term)*\nterm ::= [0-9]+ | \"(\" expr \")\" | \"\\\"\" "
    "[^\"]* \"\\\"\"",
};

/* Pieces that the sources have, cut and joined at random. */
static void add_random_tokens(struct tokens *t, uint32_t n, uint64_t *random) {
    static const char alphabet[] =
        "\"{}[]:, abcdeend012.5tagsnamergreen\\u\xc3\xa4\xf0\x9f\x98\x80+()";
    while (t->n < n) {
        char bytes[12];
        const size_t size = 1 + next_random(random) % sizeof(bytes);
        for (size_t i = 0; i < size; i++)
            bytes[i] = alphabet[next_random(random) % (sizeof(alphabet) - 1)];
        add_token(t, bytes, next_random(random) % 3 == 0 ? size : 1 + size / 3);
    }
}

/* Each token's bit against its bytes, one at a time. */
static void check_mask(rsr_constrained *text, const struct tokens *t, const uint32_t *mask) {
    size_t n_wrong = 0;
    for (uint32_t token = 0; token < t->n; token++) {
        rsr_constrained *clone = NULL;
        CHECK_INT(rsr_constrained_clone(text, &clone, NULL), RSR_OK);
        bool allowed = t->list[token].size > 0;
        for (size_t i = 0; i < t->list[token].size && allowed; i++)
            allowed =
                rsr_constrained_advance(clone, (uint8_t)t->list[token].bytes[i], NULL) == RSR_OK;
        if (t->list[token].size == 0)
            allowed = rsr_constrained_is_complete(text);
        const bool bit = (mask[token / 32] >> token % 32 & 1) != 0;
        if (bit != allowed && n_wrong++ < 3)
            fprintf(stderr, "  token %u '%.*s': mask %d, bytes %d\n", token,
                    (int)t->list[token].size, t->list[token].bytes, bit, allowed);
        rsr_constrained_destroy(clone);
    }
    CHECK_INT(n_wrong, 0);
}

/* Whether a mask that took long is kept and found again. */
static void check_kept(rsr_constrained *text, const uint32_t *mask, uint32_t n_words) {
    static uint32_t again[1 << 10];
    bool is_kept = false;
    for (uint32_t i = 0; i < RSR_KEPT_MASKS; i++)
        is_kept = is_kept || text->kept[i].n_spots > 0;
    CHECK(is_kept);
    CHECK_INT(rsr_constrained_allow(text, again, n_words, NULL), RSR_OK);
    CHECK_INT(memcmp(mask, again, n_words * sizeof(*again)), 0);
}

/* Walks randomly through a constraint. With a large vocabulary, the tokens inside strings are
 * known. */
static void check_walk(const char *source, uint32_t n_tokens, uint64_t seed, bool wants_span,
                       bool wants_kept) {
    static struct tokens t;
    static uint32_t mask[1 << 10];
    uint64_t random = seed;
    begin_tokens(&t);
    add_random_tokens(&t, n_tokens, &random);
    rsr_vocabulary *v = make_vocabulary(&t);
    rsr_constraint *c =
        compile(v, source[0] == '{' ? RSR_CONSTRAINT_JSON_SCHEMA : RSR_CONSTRAINT_GRAMMAR, source);
    rsr_constrained *text = NULL;
    const bool is_large = n_tokens > 4096;
    CHECK(c->n_spans == 0 || is_large);
    CHECK(c->n_spans > 0 || !is_large || !wants_span);
    CHECK_INT(rsr_constrained_create(c, &text, NULL), RSR_OK);
    for (int step = 0; step < (is_large ? 9 : 40); step++) {
        CHECK_INT(rsr_constrained_allow(text, mask, 1 << 10, NULL), RSR_OK);
        if (step % 4 == 0)
            check_mask(text, &t, mask);
        if (step == 4 && is_large && wants_kept)
            check_kept(text, mask, 1 << 10);
        uint32_t token = (uint32_t)(next_random(&random) % t.n);
        while ((mask[token / 32] >> token % 32 & 1) == 0)
            token = (token + 1) % t.n;
        CHECK_INT(rsr_constrained_advance(text, token, NULL), RSR_OK);
        if (t.list[token].size == 0)
            break;
    }
    rsr_constrained_destroy(text);
    rsr_constraint_destroy(c);
    rsr_vocabulary_destroy(v);
}

static void test_masks(void) {
    for (size_t i = 0; i < sizeof(sources) / sizeof(*sources); i++) {
        for (uint64_t seed = 1; seed <= (TEST_SANITIZED ? 1 : 12); seed++)
            check_walk(sources[i], 1500, seed, false, false);
        check_walk(sources[i], TEST_SANITIZED ? 12000 : 30000, 99, i != 2, i == 3);
    }
}

static void test_calls(const rsr_vocabulary *v) {
    rsr_error err = RSR_ERROR_INIT;
    rsr_constraint *c = compile(v, RSR_CONSTRAINT_GRAMMAR, "root ::= \"ab\"");
    rsr_constrained *text = NULL;
    uint32_t mask[16];
    CHECK_INT(rsr_constrained_create(c, &text, &err), RSR_OK);
    CHECK_INT(rsr_constrained_allow(text, mask, 8, &err), RSR_ERR_ARGUMENT);
    CHECK_INT(rsr_constrained_advance(text, 256, &err), RSR_ERR_ARGUMENT);
    CHECK_STR(err.message, "token 256 is not allowed here");
    CHECK_INT(rsr_constrained_advance(text, 5000, &err), RSR_ERR_ARGUMENT);
    CHECK_INT(rsr_constrained_advance(text, 'b', &err), RSR_ERR_ARGUMENT);
    CHECK_INT(rsr_constrained_advance(text, 'a', &err), RSR_OK);
    CHECK_INT(rsr_constrained_advance(text, 'b', &err), RSR_OK);
    CHECK(rsr_constrained_is_complete(text));
    CHECK_INT(rsr_constrained_allow(text, mask, 9, &err), RSR_OK);
    CHECK_INT(mask[8], 1);
    CHECK_INT(rsr_constrained_advance(text, 256, &err), RSR_OK);
    CHECK_INT(rsr_constrained_advance(text, 'b', &err), RSR_ERR_ARGUMENT);
    rsr_constrained_destroy(text);
    rsr_constraint_destroy(c);
    /* A vocabulary without the bytes that must follow, then a vocabulary without a stop token. */
    const struct rsr_token_bytes tokens[] = {{"a", 1, 0}, {"xyz", 3, 1}};
    rsr_vocabulary *small = NULL;
    CHECK_INT(rsr_vocabulary_make(tokens, 2, NULL, 0, &small, &err), RSR_OK);
    c = compile(small, RSR_CONSTRAINT_GRAMMAR, "root ::= \"a\" \"b\"?");
    CHECK_INT(rsr_constrained_create(c, &text, &err), RSR_OK);
    CHECK_INT(rsr_constrained_advance(text, 0, &err), RSR_OK);
    CHECK_INT(rsr_constrained_allow(text, mask, 1, &err), RSR_ERR_TEXT);
    CHECK_STR(err.message, "the text is complete, and the model has no stop token");
    rsr_constrained_destroy(text);
    rsr_constraint_destroy(c);
    c = compile(small, RSR_CONSTRAINT_GRAMMAR, "root ::= \"b\"");
    CHECK_INT(rsr_constrained_create(c, &text, &err), RSR_OK);
    CHECK_INT(rsr_constrained_allow(text, mask, 1, &err), RSR_ERR_TEXT);
    CHECK_STR(err.message, "no token of the model has the bytes that must follow");
    rsr_constrained_destroy(text);
    rsr_constraint_destroy(c);
    rsr_vocabulary_destroy(small);
}

int main(void) {
    rsr_vocabulary *v = byte_vocabulary();
    test_schema_refusals(v);
    test_unknown_keywords(v);
    test_grammar_refusals(v);
    test_hostile(v);
    test_depth(v);
    test_schemas(v);
    test_grammars(v);
    test_numbers(v);
    test_calls(v);
    rsr_vocabulary_destroy(v);
    test_masks();
    return CHECK_EXIT();
}
