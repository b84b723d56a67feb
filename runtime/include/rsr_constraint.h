/* rsr_constraint.h - output that follows a JSON schema or a grammar.
 *
 * A constraint is compiled from text to an automaton over bytes. A constrained text is the
 * automaton's state after the tokens generated so far. It fills rsr_sampling.allowed before each
 * token, and the caller tells it which token was picked.
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
 * With rsr_generate, fill `allowed` before the call. In the callback, advance and fill it again:
 * rsr_generate reads it anew for every token.
 *
 * What is outside the subset is refused by name and place when the constraint is created, never
 * ignored. A stop token of the model is allowed where the text may end, and nowhere else; special
 * tokens never are. A text that ends for another reason (max_tokens) is the beginning of a text
 * that follows the constraint.
 *
 * JSON schema
 *   $ref            "#" and "#/..." within the document, also recursive, without other keywords
 *                   beside it
 *   anyOf           without other keywords beside it
 *   enum, const     any JSON value; the only keyword allowed beside them is type
 *   type            "object", "array", "string", "number", "integer", "boolean", "null", or an
 *                   array of them. A schema without one of the keywords up to here is refused; so
 *                   are the schemas true and false
 *   object          properties, required, additionalProperties. Properties come in the order in
 *                   which the schema lists them; one that is not required may be missing. Other
 *                   properties never come: additionalProperties may be false or absent, and true is
 *                   refused. Without properties, additionalProperties with a schema makes a map
 *                   with keys of up to 64 characters
 *   array           items (required, a schema), minItems, maxItems
 *   string          minLength, maxLength, in code points; an escape counts as one, and so does a
 *                   pair of surrogates
 *   number, integer minimum, maximum, exclusiveMinimum, exclusiveMaximum, kept exactly. An integer
 *                   has up to 18 digits. A number has up to 15 digits before the point, up to 15
 *                   after it, and an exponent of up to two digits. With a bound it has no exponent
 *                   and up to 9 digits after the point; these and the digits before the point of
 *                   the bounds are at most 15 together
 *   without effect  title, description, default, examples, $comment, deprecated, readOnly,
 *                   writeOnly; $schema and $id at the root. $defs and definitions hold what $ref
 *                   names
 * A keyword that does not belong to the schema's type is refused, too. The text is JSON without
 * white space, except that one space may follow a comma or a colon. Values of enum and const have a
 * single form, without spaces. At most 64 arrays and $refs are open at once, which bounds the depth
 * of values.
 *
 * Grammar: a subset of GBNF; a text begins with the rule `root`
 *   name ::= "text" [a-z0-9_] [^"] . ( ) | * + ? {n} {n,} {n,m} other-rule    # comment
 * with the escapes \n \r \t \\ \" \[ \] \- \^ \xHH \uHHHH \UHHHHHHHH in texts and classes. A class
 * holds code points; the text has them as UTF-8. Refused are left recursion, repetitions of
 * something that may be empty, and rules that are missing, defined twice or can never end. At most
 * 256 rules and repetitions are open at once; the last one in a rule does not count. Alternatives
 * that would need more are not allowed.
 *
 * Bounds: 1 MiB of schema or grammar, 48 levels of JSON or 64 of brackets, 512 properties, 32,768
 * rules, 131,072 parts. A token of more than 256 bytes is never allowed. At most 2,048 parts may
 * come next at one place (alternatives of a grammar or of anyOf; all values of an enum count as
 * one); more are RSR_ERR_FULL.
 *
 * The rules of rsr.h hold. A vocabulary and a constraint are immutable and may be shared by
 * threads; a constrained text belongs to one thread at a time. End texts before their constraint,
 * and constraints before their vocabulary.
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

/* The bytes of all tokens, as a prefix tree: a few MB for 128,256 tokens. It borrows nothing from
 * the model, which may end first. RSR_ERR_TEXT: the model has no tokenizer. */
RSR_EXPORT RSR_NODISCARD rsr_status rsr_vocabulary_create(const rsr_model *model,
                                                          rsr_vocabulary **vocabulary,
                                                          rsr_error *err);
RSR_EXPORT void rsr_vocabulary_destroy(rsr_vocabulary *vocabulary);

/* Compiles a text in UTF-8, which is not needed afterwards. With RSR_ERR_ARGUMENT the message says
 * what is refused and where, by a JSON pointer ("#/properties/age") or a line. */
RSR_EXPORT RSR_NODISCARD rsr_status rsr_constraint_create(const rsr_vocabulary *vocabulary,
                                                          rsr_constraint_kind kind,
                                                          const char *text, size_t text_bytes,
                                                          rsr_constraint **constraint,
                                                          rsr_error *err);
RSR_EXPORT void rsr_constraint_destroy(rsr_constraint *constraint);

/* A constrained text at its beginning. RSR_ERR_FULL: too many parts may come first. */
RSR_EXPORT RSR_NODISCARD rsr_status rsr_constrained_create(const rsr_constraint *constraint,
                                                           rsr_constrained **text, rsr_error *err);
/* A copy: a text in the same state. */
RSR_EXPORT RSR_NODISCARD rsr_status rsr_constrained_clone(const rsr_constrained *text,
                                                          rsr_constrained **clone, rsr_error *err);
RSR_EXPORT void rsr_constrained_destroy(rsr_constrained *text);

/* Fills n_words words with the set of tokens that may follow, in the form of rsr_sampling.allowed.
 * n_words is at least (vocab + 31) / 32; further words become 0. RSR_ERR_TEXT: no token may follow,
 * because the text is complete and the model has no stop token, or because no token has the bytes
 * that must follow. RSR_ERR_FULL: too many parts may come next here, or the grammar is too
 * ambiguous. */
RSR_EXPORT RSR_NODISCARD rsr_status rsr_constrained_allow(rsr_constrained *text, uint32_t *allowed,
                                                          size_t n_words, rsr_error *err);

/* Moves past a token. RSR_ERR_ARGUMENT: the token is not allowed; RSR_ERR_FULL as above. On failure
 * the text does not change. */
RSR_EXPORT RSR_NODISCARD rsr_status rsr_constrained_advance(rsr_constrained *text, uint32_t token,
                                                            rsr_error *err);

/* Whether the text may end here. */
RSR_EXPORT bool rsr_constrained_is_complete(const rsr_constrained *text);

#ifdef __cplusplus
}
#endif
#endif
