/* fuzz_threshold.c - libFuzzer: any bytes as a threshold, and as a value of --attention. An
 * accepted threshold has numbers that queries accept; a refusal is a sentence and does not change
 * the result. */
#include <string.h>

#include "walk/crew.h"
#include "fuzz_target.h"

static void require(bool condition) {
    if (!condition)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size_bytes) {
    char text[256];
    const size_t n = size_bytes < sizeof(text) ? size_bytes : sizeof(text) - 1;
    memcpy(text, bytes, n);
    text[n] = '\0';
    rsr_error err = RSR_ERROR_INIT;
    rsr_louver_threshold threshold = {.kind = RSR_LOUVER_TOPK, .k = 77};
    if (rsr_louver_threshold_parse(text, &threshold, &err) == RSR_OK) {
        require(err.message[0] == '\0');
        require(louver_check_threshold(&threshold, NULL) == RSR_OK);
    } else {
        require(err.message[0] != '\0' && threshold.k == 77);
    }
    const struct rsr_attention *attention = NULL;
    struct rsr_attention_options options;
    err.message[0] = '\0';
    if (rsr_attention_choose(text, &attention, &options, &err) == RSR_OK)
        require(attention != NULL && louver_check_threshold(&options.threshold, NULL) == RSR_OK);
    else
        require(attention == NULL && err.message[0] != '\0');
    return 0;
}
