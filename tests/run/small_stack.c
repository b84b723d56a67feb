/* small_stack.c - a thread with a small stack uses a model: prints how each call ends. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rsr.h"
#include "rsr_louver.h"

static const char *path;

static bool told(const char *call, rsr_status status, const rsr_error *err) {
    printf("%s: %s\n", call, status == RSR_OK ? "works" : err->message);
    return status == RSR_OK;
}

static bool on_token(void *user, const rsr_generated *generated) {
    (void)user;
    return generated->text != NULL;
}

static void generate(rsr_engine *engine) {
    rsr_sequence *sequence = NULL;
    rsr_error err = RSR_ERROR_INIT;
    rsr_generate_result result = RSR_GENERATE_RESULT_INIT;
    rsr_generate_options options = RSR_GENERATE_OPTIONS_INIT;
    options.max_tokens = 4;
    if (!told("sequence", rsr_sequence_create(engine, &sequence, &err), &err))
        return;
    told("generate",
         rsr_generate(engine, sequence, "In the beginning", 16, &options, on_token, NULL, &result,
                      &err),
         &err);
    rsr_sequence_destroy(sequence);
}

static void add_keys(void) {
    static float rows[64 * 64];
    rsr_louver_options options = RSR_LOUVER_OPTIONS_INIT;
    rsr_louver *index = NULL;
    rsr_error err = RSR_ERROR_INIT;
    options.head_dim = 64;
    if (told("index", rsr_louver_create(&options, &index, &err), &err))
        told("append", rsr_louver_append(index, rows, rows, 64, &err), &err);
    rsr_louver_destroy(index);
}

static void *run(void *unused) {
    rsr_model *model = NULL;
    rsr_engine *engine = NULL;
    rsr_error err = RSR_ERROR_INIT;
    rsr_engine_options options = RSR_ENGINE_OPTIONS_INIT;
    const rsr_message message = {"user", "Who art thou?"};
    size_t n = 0;
    add_keys();
    if (told("open", rsr_open(path, NULL, &model, &err), &err)) {
        static char text[1000];
        told("chat", rsr_chat_format(model, &message, 1, true, text, sizeof(text), &n, &err), &err);
        options.n_threads = 2;
        if (told("engine", rsr_engine_create(model, &options, &engine, &err), &err))
            generate(engine);
        rsr_engine_destroy(engine);
    }
    rsr_close(model);
    return unused;
}

int main(int argc, char **argv) {
    pthread_attr_t attributes;
    pthread_t thread;
    if (argc != 3)
        return 2;
    path = argv[1];
    pthread_attr_init(&attributes);
    if (pthread_attr_setstacksize(&attributes, (size_t)atoi(argv[2]) << 10) != 0 ||
        pthread_create(&thread, &attributes, run, NULL) != 0)
        return 2;
    pthread_join(thread, NULL);
    return 0;
}
