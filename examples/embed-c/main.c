/* Generates text with a compiled model. Usage: embed-c MODEL.so [PROMPT] */
#include <errno.h>
#include <rsr.h>
#include <stdio.h>
#include <string.h>

static bool print_piece(void *user, const rsr_generated *piece) {
    return fwrite(piece->text, 1, piece->text_bytes, user) == piece->text_bytes;
}

int main(int argc, char **argv) {
    const char *prompt = argc > 2 ? argv[2] : "In the beginning";
    rsr_error err = RSR_ERROR_INIT;
    rsr_model *model = NULL;
    rsr_engine *engine = NULL;
    rsr_sequence *sequence = NULL;
    rsr_generate_options options = RSR_GENERATE_OPTIONS_INIT;
    options.max_tokens = 40;
    bool good = argc > 1 && rsr_open(argv[1], NULL, &model, &err) == RSR_OK &&
                rsr_engine_create(model, NULL, &engine, &err) == RSR_OK &&
                rsr_sequence_create(engine, &sequence, &err) == RSR_OK;
    if (good) {
        printf("%s", prompt);
        good = rsr_generate(engine, sequence, prompt, strlen(prompt), &options, print_piece, stdout,
                            NULL, &err) == RSR_OK;
        printf("\n");
    }
    if (!good)
        fprintf(stderr, "embed-c: %s\n",
                argc > 1 ? err.message : "usage: embed-c MODEL.so [PROMPT]");
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "embed-c: cannot write to standard output: %s\n", strerror(errno));
        good = false;
    }
    rsr_sequence_destroy(sequence);
    rsr_engine_destroy(engine);
    rsr_close(model);
    return good ? 0 : 1;
}
