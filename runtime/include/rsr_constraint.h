/* rsr_constraint.h - output that follows a JSON schema or a grammar.
 *
 * A constraint is compiled from text to an automaton over bytes. A constrained text is its state
 * behind the tokens that were generated: it fills rsr_sampling.allowed before each token and is
 * told which was picked.
 *
 *     rsr_error err = RSR_ERROR_INIT;
 *     rsr_sampling sampling = RSR_SAMPLING_INIT;
 *     rsr_vocabulary *vocabulary = NULL; // once for a model
 *     rsr_constraint *constraint = NULL; // once for a schema
 *     rsr_constrained *text = NULL;      // once for a text
 *     if (rsr_vocabulary_create(model, &vocabulary, &err) != RSR_OK ||
 *         rsr_constraint_create(vocabulary, RSR_CONSTRAINT_JSON_SCHEMA, schema, strlen(schema),
 *                               &constraint, &err) != RSR_OK ||
 *         rsr_constrained_create(constraint, &text, &err) != RSR_OK)
 *         puts(err.message);
 *     sampling.allowed = allowed; // (vocab + 31) / 32 words
 *     sampling.allowed_words = n_words;
 *     while (rsr_constrained_allow(text, allowed, n_words, &err) == RSR_OK &&
 *            next_token(&sampling, &token) && // evaluates and picks; false at a stop token
 *            rsr_constrained_advance(text, token, &err) == RSR_OK)
 *         ;
 *     rsr_constrained_destroy(text);
 *     rsr_constraint_destroy(constraint);
 *     rsr_vocabulary_destroy(vocabulary);
 *
 * With rsr_generate, fill `allowed` before the call, and advance and fill it again in the callback:
 * it is read anew for every token.
 *
 * What is outside the subset is refused by name and place when the constraint is created, never
 * ignored. A stop token of the model is allowed where the text may end, and nowhere else; special
 * tokens never are. A text that ends otherwise (max_tokens) is the beginning of one that follows
 * the constraint.
 *
 * JSON schema
 *   $ref            "#" and "#/..." of the same document, also of itself, without other keywords
 *                   beside it
 *   anyOf           without other keywords beside it
 *   enum, const     any JSON value; beside it type alone
 *   type            "object", "array", "string", "number", "integer", "boolean", "null", or an
 *                   array of them; a schema without one of the keywords up to here is refused, and
 *                   so are true and false
 *   object          properties, required, additionalProperties. The properties come in the order in
 *                   which the schema lists them; those that are not required may be left out. No
 *                   other property comes, which additionalProperties: false and its absence both
 *                   mean here; true is refused. additionalProperties with a schema makes a map of
 *                   up to 64 characters long keys, where there are no properties
 *   array           items, a schema, which must be there; minItems, maxItems
 *   string          minLength, maxLength, in code points, of which an escape is one and a pair of
 *                   surrogates together is one
 *   number, integer minimum, maximum, exclusiveMinimum, exclusiveMaximum, kept exactly. An integer
 *   has up to 18
 *                   digits. A number has up to 15 digits in front of the point and up to 15 behind
 *                   it, and an exponent of up to two digits; with a bound it has no exponent, and
 *                   up to 9 digits behind the point, but no more than 15 with those in front of it
 *                   in the bounds
 *   without effect  title, description, default, examples, $comment, deprecated, readOnly,
 *                   writeOnly; $defs and definitions hold what $ref names; $schema and $id at the
 *                   root
 * A keyword that does not go with the schema's type is refused, too. The text is JSON without white
 * space, but that one space may follow a comma or a colon; texts of enum and const have none and
 * one form each. At most 64 arrays and $refs are open at once: values do not nest deeper.
 *
 * Grammar: a subset of GBNF, from the rule `root` on
 *   name ::= "text" [a-z0-9_] [^"] . ( ) | * + ? {n} {n,} {n,m} other-rule    # comment
 * with the escapes \n \r \t \\ \" \[ \] \- \^ \xHH \uHHHH \UHHHHHHHH in texts and classes. A class
 * is of code points and stands for their UTF-8. Refused: left recursion, repetitions of what may be
 * empty, rules that are missing, come twice, or can never end. At most 256 rules and repetitions
 * are open at once, the last one in a rule not counted; alternatives that would need more are not
 * taken.
 *
 * Bounds: a text of 1 MiB, 48 levels of JSON or 64 of brackets, 512 properties, 32,768 rules,
 * 131,072 parts. A token of more than 256 bytes is never allowed. At most 2,048 parts may be what
 * comes next at once, as many alternatives of a grammar or of anyOf (values of enum count as one);
 * a place with more is RSR_ERR_FULL.
 *
 * The rules of rsr.h hold. A vocabulary and a constraint are immutable and may be shared by
 * threads; a constrained text belongs to one thread at a time. A vocabulary ends after its
 * constraints, a constraint after its texts.
 */
#ifndef RSR_CONSTRAINT_H
#define RSR_CONSTRAINT_H

#include "rsr.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rsr_vocabulary rsr_vocabulary;
typedef struct rsr_constraint rsr_constraint;
typedef struct rsr_constrained rsr_constrained;

typedef enum rsr_constraint_kind {
    RSR_CONSTRAINT_JSON_SCHEMA,
    RSR_CONSTRAINT_GRAMMAR
} rsr_constraint_kind;

/* The bytes of all tokens, as a tree of prefixes: some MB for 128,256 tokens. Borrows nothing: the
 * model may end before it. RSR_ERR_TEXT: the model has no tokenizer. */
RSR_EXPORT RSR_NODISCARD rsr_status rsr_vocabulary_create(const rsr_model *model,
                                                          rsr_vocabulary **vocabulary,
                                                          rsr_error *err);
RSR_EXPORT void rsr_vocabulary_destroy(rsr_vocabulary *vocabulary);

/* Compiles a text, UTF-8, which is not needed afterwards. RSR_ERR_ARGUMENT says what is refused,
 * and where: by a JSON pointer ("#/properties/age"), or a line. */
RSR_EXPORT RSR_NODISCARD rsr_status rsr_constraint_create(const rsr_vocabulary *vocabulary,
                                                          rsr_constraint_kind kind,
                                                          const char *text, size_t text_bytes,
                                                          rsr_constraint **constraint,
                                                          rsr_error *err);
RSR_EXPORT void rsr_constraint_destroy(rsr_constraint *constraint);

/* At the beginning of a text. RSR_ERR_FULL: too many parts may come first. */
RSR_EXPORT RSR_NODISCARD rsr_status rsr_constrained_create(const rsr_constraint *constraint,
                                                           rsr_constrained **text, rsr_error *err);
/* Another one behind the same tokens. */
RSR_EXPORT RSR_NODISCARD rsr_status rsr_constrained_clone(const rsr_constrained *text,
                                                          rsr_constrained **clone, rsr_error *err);
RSR_EXPORT void rsr_constrained_destroy(rsr_constrained *text);

/* Fills n_words words with the tokens that may follow, as rsr_sampling.allowed has them; n_words is
 * at least (vocab + 31) / 32, and words behind those become 0. RSR_ERR_TEXT: no token may follow,
 * because the text is complete and the model has no stop token, or because no token has the bytes
 * that must follow. RSR_ERR_FULL: too many parts may come next here, or the grammar is too
 * ambiguous. */
RSR_EXPORT RSR_NODISCARD rsr_status rsr_constrained_allow(rsr_constrained *text, uint32_t *allowed,
                                                          size_t n_words, rsr_error *err);

/* Goes on behind a token. RSR_ERR_ARGUMENT: it is not allowed; RSR_ERR_FULL as above. After a
 * failure the text is as before. */
RSR_EXPORT RSR_NODISCARD rsr_status rsr_constrained_advance(rsr_constrained *text, uint32_t token,
                                                            rsr_error *err);

/* Whether the text may end here. */
RSR_EXPORT bool rsr_constrained_is_complete(const rsr_constrained *text);

#ifdef __cplusplus
}
#endif
#endif
