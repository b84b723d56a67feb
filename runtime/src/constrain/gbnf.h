/* gbnf.h - a grammar between its text and the nodes of byte_grammar.h.
 *
 * Nodes are built from the end to the beginning, and text is read from the beginning: terms and
 * alternatives know the one before them. gbnf_read.c reads all rules, gbnf_build.c then makes nodes
 * of them.
 */
#ifndef RSR_GBNF_H
#define RSR_GBNF_H

#include "byte_grammar.h"
#include "host/utf8.h"

enum rsr_gbnf_kind { RSR_GBNF_ITEM, RSR_GBNF_RULE, RSR_GBNF_GROUP };

struct rsr_gbnf_term {
    enum rsr_gbnf_kind kind;
    uint32_t first; /* ITEM: byte state, 0: of an empty text; RULE; GROUP: its last alternative */
    uint32_t min, max;
    uint32_t line;
    uint32_t previous; /* term; 0: none */
};

struct rsr_gbnf_alternative {
    uint32_t last; /* term; 0: none, the empty text */
    uint32_t previous;
    uint32_t
        item; /* of this and those before: 1 + the byte state of the item that they are, 1: they are
                 none; 0: not known yet */
};

struct rsr_gbnf_name {
    const char *text;
    size_t size;
    uint32_t line; /* where the rule begins; 0: it was only used so far */
    uint32_t used_line;
    uint32_t alternative; /* its last one */
};

struct rsr_gbnf {
    struct rsr_grammar *g;
    const char *at, *end;
    uint32_t line;
    struct rsr_bytes terms, alternatives,
        names; /* the first term and alternative are none; names by rule */
};

static inline struct rsr_gbnf_term *rsr_gbnf_term_at(const struct rsr_gbnf *in, uint32_t i) {
    return (struct rsr_gbnf_term *)(void *)in->terms.data + i;
}

static inline struct rsr_gbnf_alternative *rsr_gbnf_alternative_at(const struct rsr_gbnf *in,
                                                                   uint32_t i) {
    return (struct rsr_gbnf_alternative *)(void *)in->alternatives.data + i;
}

static inline struct rsr_gbnf_name *rsr_gbnf_name_at(const struct rsr_gbnf *in, uint32_t i) {
    return (struct rsr_gbnf_name *)(void *)in->names.data + i;
}

/* gbnf_build.c: the nodes of a rule, once all are read. */
void rsr_gbnf_build(struct rsr_gbnf *in, uint32_t rule);

#endif
