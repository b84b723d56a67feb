/* Generates text with a compiled model. Usage: embed-c MODEL.so [PROMPT] */
#include <rsr.h>
#include <stdio.h>
#include <string.h>

static bool print_piece(void *user, const rsr_generated *piece) {
    fwrite(piece->text, 1, piece->text_bytes, user);
    return true;
}

int main(int argc, char **argv) {
    const char *prompt = argc > 2 ? argv[2] : "In the beginning";
    rsr_error err = RSR_ERROR_INIT;
    rsr_model *model = NULL;
    rsr_engine *engine = NULL;
    rsr_sequence *sequence = NULL;
    rsr_generate_options options = RSR_GENERATE_OPTIONS_INIT;
    options.max_tokens = 40;
    const bool good =
        argc > 1 && rsr_open(argv[1], NULL, &model, &err) == RSR_OK &&
        rsr_engine_create(model, NULL, &engine, &err) == RSR_OK &&
        rsr_sequence_create(engine, &sequence, &err) == RSR_OK &&
        printf("%s", prompt) >= 0 &&
        rsr_generate(engine, sequence, prompt, strlen(prompt), &options, print_piece, stdout, NULL,
                     &err) == RSR_OK;
    printf("\n");
    if (!good)
        fprintf(stderr, "embed-c: %s\n", argc > 1 ? err.message : "usage: embed-c MODEL.so [PROMPT]");
    rsr_sequence_destroy(sequence);
    rsr_engine_destroy(engine);
    rsr_close(model);
    return good ? 0 : 1;
}
