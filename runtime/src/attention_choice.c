/* attention_choice.c - the kinds of attention, by name:
 *
 *     dense
 *     louver[:THRESHOLD][,min=KEYS]      THRESHOLD as in rsr_louver.h
 */
#include <stdlib.h>
#include <string.h>

#include "engine.h"

static const struct rsr_attention *const kinds[] = {&rsr_attention_dense, &rsr_attention_louver};

#define MIN_OPTION ",min="

/* Cuts ",min=KEYS" off the end of `rest`. */
static rsr_status cut_min(const char *text, char *rest, uint32_t *min_keys, rsr_error *err) {
    char *option = strchr(rest, ',');
    if (option == NULL)
        return RSR_OK;
    const bool is_min = strncmp(option, MIN_OPTION, strlen(MIN_OPTION)) == 0;
    const char *digits = is_min ? option + strlen(MIN_OPTION) : "";
    const size_t n_digits = strspn(digits, "0123456789");
    if (n_digits < 1 || n_digits > 9 || digits[n_digits] != '\0')
        return rsr_fail(err, RSR_ERR_ARGUMENT,
                        "attention '%.80s': '%s' is unknown; write min=KEYS, as in louver,min=512",
                        text, option + 1);
    *min_keys = (uint32_t)strtoul(digits, NULL, 10);
    *option = '\0';
    return RSR_OK;
}

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
    char rest[64]; /* ":THRESHOLD,min=KEYS" */
    if (kind == NULL || strlen(text + name_bytes) >= sizeof(rest) ||
        (kind == &rsr_attention_dense && text[name_bytes] != '\0'))
        return rsr_fail(err, RSR_ERR_ARGUMENT,
                        "attention '%.80s' is unknown; there are dense and "
                        "louver[:THRESHOLD][,min=KEYS]",
                        text);
    struct rsr_attention_options made = {RSR_LOUVER_THRESHOLD_DEFAULT, kind->min_keys};
    memcpy(rest, text + name_bytes, strlen(text + name_bytes) + 1);
    rsr_status status = cut_min(text, rest, &made.min_keys, err);
    if (status == RSR_OK && rest[0] != '\0')
        status = rsr_louver_threshold_parse(rest + 1, &made.threshold, err);
    if (status != RSR_OK)
        return status;
    *attention = kind;
    *options = made;
    return RSR_OK;
}
