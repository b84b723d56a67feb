/* attention_choice.c - finds a kind of attention by its name, and reads its options:
 *
 *     dense
 *     louver[:THRESHOLD][,min=KEYS][,sinks=N][,window=N]   as in rsr_louver.h; options in any order
 */
#include <stdio.h>
#include <string.h>

#include "walk/crew.h"

static const struct rsr_attention *const kinds[] = {&rsr_attention_dense, &rsr_attention_louver};

static const struct rsr_attention *find_kind(const char *name, size_t name_bytes) {
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (strlen(kinds[i]->name) == name_bytes && memcmp(name, kinds[i]->name, name_bytes) == 0)
            return kinds[i];
    return NULL;
}

rsr_status rsr_attention_choose(const char *text, const struct rsr_attention **attention,
                                struct rsr_attention_options *options, rsr_error *err) {
    if (text == NULL)
        text = rsr_attention_dense.name;
    const size_t name_bytes = strcspn(text, ":,");
    const struct rsr_attention *kind = find_kind(text, name_bytes);
    const char *rest = text + name_bytes;
    if (kind == NULL || (kind == &rsr_attention_dense && *rest != '\0'))
        return rsr_fail(err, RSR_ERR_ARGUMENT,
                        "attention '%.80s' is unknown; there are dense and "
                        "louver[:THRESHOLD][,min=KEYS][,sinks=N][,window=N]",
                        text);
    struct rsr_attention_options made = {.threshold = RSR_LOUVER_THRESHOLD_DEFAULT};
    rsr_status status = RSR_OK;
    if (*rest == ':') {
        rest++;
        status = louver_parse_rule(&rest, &made.threshold, err);
    }
    if (status == RSR_OK && kind->min_keys != NULL)
        made.min_keys = kind->min_keys(&made.threshold);
    if (status == RSR_OK)
        status = louver_parse_options(rest, &made.threshold, &made.min_keys, err);
    if (status != RSR_OK)
        return status;
    *attention = kind;
    *options = made;
    return RSR_OK;
}

void rsr_attention_describe(const struct rsr_attention *attention,
                            const struct rsr_attention_options *options, char *text,
                            size_t capacity) {
    const rsr_louver_threshold *threshold = &options->threshold;
    char rule[48];
    louver_write_rule(threshold, rule, sizeof(rule));
    snprintf(text, capacity, "%s:%s,min=%u,sinks=%u,window=%u", attention->name, rule,
             options->min_keys, threshold->sinks, threshold->window);
}
