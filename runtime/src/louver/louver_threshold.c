/* louver_threshold.c - thresholds as text, and their allowed values. */
#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/c_locale.h"
#include "louver.h"
#include "runtime.h"

/* ---- The rules ---- */

struct rule {
    const char *name;
    rsr_louver_kind kind;
    bool has_value, has_k;
    double least, most; /* of the value */
    uint32_t most_k;    /* at least 1 */
    const char *form;
};

/* The neighbours of 0 and 1 are the limits where 0 and 1 are not allowed. */
#define ABOVE_0 0x1p-1074
#define BELOW_1 (1.0 - 0x1p-53)

static const struct rule rules[] = {
    {"value", RSR_LOUVER_VALUE, true, false, -INFINITY, INFINITY, 0, "value:T, as value:2.5"},
    {"topk", RSR_LOUVER_TOPK, false, true, 0, 0, UINT32_MAX, "topk:K, K at least 1"},
    {"mass", RSR_LOUVER_MASS, true, false, 0, BELOW_1, 0, "mass:EPS, 0 <= EPS < 1"},
    {"error", RSR_LOUVER_ERROR, true, false, 0, BELOW_1, 0, "error:EPS, 0 <= EPS < 1"},
    {"budget", RSR_LOUVER_BUDGET, true, false, ABOVE_0, 1, 0, "budget:F, 0 < F <= 1"},
    {"sample_max", RSR_LOUVER_SAMPLE_MAX, true, false, 0, DBL_MAX, 0, "sample_max:A, A at least 0"},
    {"sample_topk", RSR_LOUVER_SAMPLE_TOPK, false, true, 0, 0, LOUVER_SAMPLE_KEYS,
     "sample_topk:K, 1 <= K <= 512"},
    {"sample_mean_max", RSR_LOUVER_SAMPLE_MEAN_MAX, false, false, 0, 0, 0, "sample_mean_max"},
    {"sample_gap", RSR_LOUVER_SAMPLE_GAP, true, true, ABOVE_0, 1, LOUVER_SAMPLE_KEYS - 1,
     "sample_gap:PHI,P, 0 < PHI <= 1, 1 <= P <= 511"},
};
#define N_RULES (sizeof(rules) / sizeof(rules[0]))

static bool in_range(const struct rule *rule, const rsr_louver_threshold *threshold) {
    const double value = threshold->value;
    return (!rule->has_value || (value >= rule->least && value <= rule->most)) &&
           (!rule->has_k || (threshold->k >= 1 && threshold->k <= rule->most_k));
}

rsr_status louver_check_threshold(const rsr_louver_threshold *threshold, rsr_error *err) {
    for (size_t i = 0; i < N_RULES; i++) {
        if (rules[i].kind != threshold->kind)
            continue;
        if (rules[i].has_value && isnan(threshold->value))
            return rsr_fail(err, RSR_ERR_NUMERIC, "the threshold is not a number");
        if (!in_range(&rules[i], threshold))
            return rsr_fail(err, RSR_ERR_ARGUMENT,
                            "the threshold's numbers are %g and %u; it takes %s", threshold->value,
                            threshold->k, rules[i].form);
        return RSR_OK;
    }
    return rsr_fail(err, RSR_ERR_ARGUMENT, "the threshold has no kind that is known");
}

/* ---- Text ---- */

static bool ends_item(char c) {
    return c == ',' || c == '\0';
}

/* These functions read from *text and move it to the ',' or the end after what they read. */

static bool take_number(const char **text, double *value) {
    char *end;
    if (strspn(*text, "+-.0123456789inINF") == 0) /* strtod would skip white space */
        return false;
    const locale_t before = rsr_enter_c_locale();
    *value = strtod(*text, &end);
    rsr_leave_c_locale(before);
    *text = end;
    return ends_item(*end) && !isnan(*value);
}

static bool take_count(const char **text, uint32_t *count) {
    char *end;
    if (**text < '0' || **text > '9')
        return false;
    errno = 0;
    const unsigned long long n = strtoull(*text, &end, 10);
    *text = end;
    *count = (uint32_t)n;
    return ends_item(*end) && errno == 0 && n <= UINT32_MAX;
}

static bool take_char(const char **text, char c) {
    const bool is_there = **text == c;
    *text += is_there;
    return is_there;
}

static const struct rule *find_rule(const char *text, size_t name_bytes) {
    for (size_t i = 0; i < N_RULES; i++)
        if (strlen(rules[i].name) == name_bytes && memcmp(rules[i].name, text, name_bytes) == 0)
            return &rules[i];
    return NULL;
}

rsr_status louver_parse_rule(const char **text, rsr_louver_threshold *threshold, rsr_error *err) {
    const char *at = *text;
    const size_t name_bytes = strcspn(at, ":,");
    const struct rule *rule = find_rule(at, name_bytes);
    if (rule == NULL)
        return rsr_fail(err, RSR_ERR_ARGUMENT,
                        "the threshold '%.60s' is unknown; there are value:T, topk:K, mass:EPS, "
                        "error:EPS, budget:F, sample_max:A, sample_topk:K, sample_mean_max and "
                        "sample_gap:PHI,P",
                        at);
    rsr_louver_threshold parsed = {.kind = rule->kind};
    at += name_bytes;
    const bool takes_any = rule->has_value || rule->has_k;
    const bool parsed_all = (!takes_any || take_char(&at, ':')) &&
                            (!rule->has_value || take_number(&at, &parsed.value)) &&
                            (!rule->has_value || !rule->has_k || take_char(&at, ',')) &&
                            (!rule->has_k || take_count(&at, &parsed.k)) && ends_item(*at);
    if (!parsed_all || !in_range(rule, &parsed))
        return rsr_fail(err, RSR_ERR_ARGUMENT, "the threshold '%.60s' cannot be; write %s", *text,
                        rule->form);
    *text = at;
    *threshold = parsed;
    return RSR_OK;
}

void louver_write_rule(const rsr_louver_threshold *threshold, char *text, size_t capacity) {
    const struct rule *rule = rules;
    while (rule->kind != threshold->kind) /* ends, because every checked kind has a row */
        rule++;
    char value[32] = "", k[16] = "";
    if (rule->has_value)
        snprintf(value, sizeof(value), ":%.17g", threshold->value);
    if (rule->has_k)
        snprintf(k, sizeof(k), "%c%u", rule->has_value ? ',' : ':', threshold->k);
    snprintf(text, capacity, "%s%s%s", rule->name, value, k);
}

rsr_status louver_parse_options(const char *text, rsr_louver_threshold *threshold,
                                uint32_t *min_keys, rsr_error *err) {
    struct {
        const char *name;
        uint32_t *to;
        bool given;
    } options[] = {{"sinks=", &threshold->sinks, false},
                   {"window=", &threshold->window, false},
                   {"min=", min_keys, false}};
    const size_t n_options = sizeof(options) / sizeof(options[0]) - (min_keys == NULL);
    while (take_char(&text, ',')) {
        const char *option = text;
        size_t i = 0;
        while (i < n_options && strncmp(text, options[i].name, strlen(options[i].name)) != 0)
            i++;
        if (i == n_options)
            return rsr_fail(
                err, RSR_ERR_ARGUMENT,
                "'%.60s' is unknown; there are %ssinks=N and window=N, each after a comma", option,
                min_keys == NULL ? "" : "min=KEYS, ");
        text += strlen(options[i].name);
        if (options[i].given || !take_count(&text, options[i].to))
            return rsr_fail(err, RSR_ERR_ARGUMENT, "'%.60s' %s; write %sN once, N a number of keys",
                            option, options[i].given ? "comes again" : "names no number of keys",
                            options[i].name);
        options[i].given = true;
    }
    return RSR_OK;
}

rsr_status rsr_louver_threshold_parse(const char *text, rsr_louver_threshold *threshold,
                                      rsr_error *err) {
    rsr_louver_threshold parsed;
    if (text == NULL || threshold == NULL)
        return rsr_fail(err, RSR_ERR_ARGUMENT, "the %s is NULL",
                        text == NULL ? "text" : "result pointer");
    rsr_status status = louver_parse_rule(&text, &parsed, err);
    if (status == RSR_OK)
        status = louver_parse_options(text, &parsed, NULL, err);
    if (status == RSR_OK)
        *threshold = parsed;
    return status;
}
