/* Calls functions that a module of another version may have, may lack, or may have as NULL. It acts
 *     like an application whose structs are longer than today's. call_module FILE
 * Prints the status of each call and its sentence. */
#include <stdio.h>

#include "rsr.h"

static rsr_error err = RSR_ERROR_INIT;

static void tell(const char *name, rsr_status status) {
    printf("%s: %d %s\n", name, (int)status, status == RSR_OK ? "" : err.message);
    err.message[0] = '\0';
}

static void create_engines(rsr_model *model) {
    rsr_engine_info info = RSR_ENGINE_INFO_INIT;
    struct {
        rsr_engine_options known;
        uint64_t later[4];
    } options = {.known = RSR_ENGINE_OPTIONS_INIT};
    options.known.size_bytes = sizeof(options);
    options.known.n_threads = 1;
    for (int i = 0; i < 2; i++) {
        rsr_engine *engine = NULL;
        tell(i == 0 ? "engine" : "later option",
             rsr_engine_create(model, &options.known, &engine, &err));
        info.n_step_threads = 42;
        if (engine != NULL && rsr_engine_get_info(engine, &info) == RSR_OK)
            printf("step threads: %u\n", info.n_step_threads);
        rsr_engine_destroy(engine);
        options.later[3] = 1;
    }
    rsr_engine *engine = NULL;
    options.later[3] = 0;
    options.known.all_threads = true;
    tell("all threads", rsr_engine_create(model, &options.known, &engine, &err));
    rsr_engine_destroy(engine);
}

int main(int argc, char **argv) {
    rsr_model *model = NULL;
    struct {
        rsr_model_info known;
        uint64_t later;
    } info = {RSR_MODEL_INFO_INIT, 42};
    uint32_t token = 0;
    size_t n = 0;
    if (argc < 2)
        return 2;
    tell("open", rsr_open(argv[1], NULL, &model, &err));
    if (model == NULL)
        return 1;
    info.known.size_bytes = sizeof(info);
    tell("info", rsr_model_get_info(model, &info.known));
    printf("name: %s, %d\n", info.known.name, (int)info.later);
    tell("tokenize", rsr_tokenize(model, "a", 1, 0, &token, 1, &n, &err));
    printf("tokens: %zu\n", n);
    tell("detokenize", rsr_detokenize(model, &token, 0, false, NULL, 0, &n, &err));
    tell("chat", rsr_chat_tokens(model, "[]", 2, false, &token, 1, &n, &err));
    tell("kernel", rsr_model_get_kernel(model, 0, &(rsr_kernel_info)RSR_KERNEL_INFO_INIT));
    create_engines(model);
    rsr_close(model);
    return 0;
}
