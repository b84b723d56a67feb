/* louver_threshold.c - thresholds as text. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "louver.h"
#include "runtime.h"

static bool parse_number(const char *text, double *value) {
    char *end;
    if (*text == '\0' || *text == ' ' || *text == '\t')
        return false;
    *value = strtod(text, &end);
    return *end == '\0';
}

static rsr_status parse_value(const char *text, rsr_louver_threshold *threshold, rsr_error *err) {
    threshold->kind = RSR_LOUVER_VALUE;
    if (!parse_number(text, &threshold->value) || isnan(threshold->value))
        return rsr_fail(err, RSR_ERR_ARGUMENT, "value:%s is no number; write value:T, as value:2.5",
                        text);
    return RSR_OK;
}

static rsr_status parse_topk(const char *text, rsr_louver_threshold *threshold, rsr_error *err) {
    char *end;
    errno = 0;
    const bool digit = *text >= '0' && *text <= '9';
    const unsigned long long k = digit ? strtoull(text, &end, 10) : 0;
    threshold->kind = RSR_LOUVER_TOPK;
    if (!digit || *end != '\0' || errno != 0 || k < 1 || k > UINT32_MAX)
        return rsr_fail(err, RSR_ERR_ARGUMENT,
                        "topk:%s asks for no number of keys; write topk:K, K at least 1", text);
    threshold->k = (uint32_t)k;
    return RSR_OK;
}

static rsr_status parse_mass(const char *text, rsr_louver_threshold *threshold, rsr_error *err) {
    threshold->kind = RSR_LOUVER_MASS;
    if (!parse_number(text, &threshold->value) ||
        !(threshold->value >= 0.0 && threshold->value < 1.0))
        return rsr_fail(err, RSR_ERR_ARGUMENT,
                        "mass:%s is no part of a softmax; write mass:EPS, 0 <= EPS < 1", text);
    return RSR_OK;
}

static const struct {
    const char *name;
    rsr_status (*parse)(const char *, rsr_louver_threshold *, rsr_error *);
} kinds[] = {{"value:", parse_value}, {"topk:", parse_topk}, {"mass:", parse_mass}};

rsr_status rsr_louver_threshold_parse(const char *text, rsr_louver_threshold *threshold,
                                      rsr_error *err) {
    if (text == NULL || threshold == NULL)
        return rsr_fail(err, RSR_ERR_ARGUMENT, "the %s is NULL",
                        text == NULL ? "text" : "result pointer");
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        const size_t length = strlen(kinds[i].name);
        rsr_louver_threshold parsed = {0};
        if (strncmp(text, kinds[i].name, length) != 0)
            continue;
        rsr_status status = kinds[i].parse(text + length, &parsed, err);
        if (status == RSR_OK)
            *threshold = parsed;
        return status;
    }
    return rsr_fail(err, RSR_ERR_ARGUMENT,
                    "the threshold '%s' is unknown; there are value:T, topk:K and mass:EPS", text);
}
