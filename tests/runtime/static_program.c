/* A program that is linked statically, with a model in it.
 *     static_program FILE
 * Prints how rsr_open refuses the file, and then what the model says. */
#include <stdio.h>
#include <string.h>

#include "rsr.h"

const struct rsr_module *rsr_module_query(uint32_t max_abi, const struct rsr_host *host);

static bool put_text(void *user, const rsr_generated *generated) {
    (void)user;
    fwrite(generated->text, 1, generated->text_bytes, stdout);
    return true;
}

int main(int argc, char **argv) {
    rsr_error err = RSR_ERROR_INIT;
    rsr_model *model = NULL;
    rsr_engine *engine = NULL;
    rsr_sequence *sequence = NULL;
    rsr_engine_options options = RSR_ENGINE_OPTIONS_INIT;
    const char prompt[] = "a b c";
    options.n_threads = 2;
    if (argc < 2 || rsr_open(argv[1], NULL, &model, &err) == RSR_OK)
        return 2;
    fprintf(stderr, "%d %s\n", (int)err.status, err.message);
    const bool good = rsr_open_query(rsr_module_query, NULL, &model, &err) == RSR_OK &&
                      rsr_engine_create(model, &options, &engine, &err) == RSR_OK &&
                      rsr_sequence_create(engine, &sequence, &err) == RSR_OK &&
                      rsr_generate(engine, sequence, prompt, strlen(prompt), NULL, put_text, NULL,
                                   NULL, &err) == RSR_OK;
    if (!good)
        fprintf(stderr, "%s\n", err.message);
    rsr_sequence_destroy(sequence);
    rsr_engine_destroy(engine);
    rsr_close(model);
    return good ? 0 : 1;
}
