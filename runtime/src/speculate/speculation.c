/* speculation.c - see speculation.h. */
#include "speculation.h"

rsr_status rsr_speculation_begin(struct rsr_speculation *s, uint32_t most, const uint32_t *tokens,
                                 uint32_t n_tokens, uint32_t most_tokens, rsr_error *err) {
    const rsr_status status = rsr_drafts_create(&s->drafts, most_tokens, err);
    if (status != RSR_OK)
        return status;
    rsr_gate_begin(&s->gate, most);
    for (uint32_t i = 0; i < n_tokens; i++)
        rsr_drafts_push(&s->drafts, tokens[i]);
    return RSR_OK;
}

void rsr_speculation_end(struct rsr_speculation *s) {
    rsr_drafts_free(&s->drafts);
}

void rsr_speculation_push(struct rsr_speculation *s, uint32_t token) {
    struct rsr_drafts *drafts = &s->drafts;
    if (drafts->source != 0)
        rsr_gate_saw(&s->gate, drafts->match, rsr_drafts_at(drafts, 0) == token);
    rsr_drafts_push(drafts, token);
}

uint32_t rsr_speculation_draft(const struct rsr_speculation *s, uint32_t most,
                               uint32_t drafts[RSR_MAX_DRAFTS]) {
    if (s->drafts.source == 0)
        return 0;
    const uint32_t n = rsr_gate_choose(&s->gate, s->drafts.match, most);
    for (uint32_t i = 0; i < n; i++)
        drafts[i] = rsr_drafts_at(&s->drafts, i);
    return n;
}

void rsr_speculation_took(struct rsr_speculation *s, uint32_t n_drafts, uint32_t n_tokens,
                          uint64_t ns) {
    rsr_gate_took(&s->gate, n_drafts, n_tokens, ns);
}
