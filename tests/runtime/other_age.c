/* A module of another version of the runtime, for ages.test: its table of functions has
 * TABLE_BYTES, its tables have the version AGE, and after the prefix of struct rsr_module there are
 * bytes that no librsr understands. */
#include <string.h>

#include "rsr_api.h"

static const struct rsr_file_note note RSR_NOTE_PLACE =
    RSR_NOTE_INIT(RSR_NOTE_MODEL, .abi_version = AGE, .compiler_version = "age " AGE_TEXT);

static struct rsr_model_head the_model;

static rsr_status open_model(const struct rsr_module *module, const struct rsr_host *host,
                             const rsr_open_options *options, rsr_model **model, rsr_error *err) {
    (void)host, (void)options, (void)err;
    the_model.api = module->api;
    *model = (rsr_model *)&the_model;
    return RSR_OK;
}

static void close_model(rsr_model *model) {
    (void)model;
}

static rsr_status get_info(const rsr_model *model, rsr_model_info *info) {
    (void)model;
    info->name = "of another age";
    return RSR_OK;
}

static rsr_status tokenize(const rsr_model *model, const char *text, size_t text_bytes,
                           uint32_t flags, uint32_t *tokens, size_t capacity, size_t *n_tokens,
                           rsr_error *err) {
    (void)model, (void)text, (void)text_bytes, (void)flags, (void)tokens, (void)capacity, (void)err;
    *n_tokens = 7;
    return RSR_OK;
}

static void nobody_calls_this(void) {
    __builtin_trap();
}

static const struct {
    struct rsr_api api;
    void (*later[4])(void);
} table = {
    .api = {.size_bytes = TABLE_BYTES,
            .abi_version = AGE,
            .open = open_model,
            .close = close_model,
            .model_get_info = get_info,
            .tokenize = tokenize,
            /* detokenize is NULL */
            .chat_tokens = (void *)nobody_calls_this},
    .later = {nobody_calls_this, nobody_calls_this, nobody_calls_this, nobody_calls_this},
};

static const struct {
    uint32_t abi_version, size_bytes;
    const struct rsr_api *api;
    char unknown[999];
} module = {AGE, sizeof(module), &table.api, {1, 2, 3}};

__attribute__((visibility("default"))) const struct rsr_module *
rsr_module_query(uint32_t max_abi, const struct rsr_host *host);

const struct rsr_module *rsr_module_query(uint32_t max_abi, const struct rsr_host *host) {
    (void)max_abi, (void)host;
    return (const struct rsr_module *)(const void *)&module;
}
