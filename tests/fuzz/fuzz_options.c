/* fuzz_options.c - any bytes as the text of a response file, its words as a command line. A refusal
 * has a diagnostic, an acceptance has none. */
#include <string.h>

#include "fuzz_target.h"
#include "options.h"

/* Splitting, quoting and splitting again gives equal words. */
static void check_round_trip(struct fuzz_target *target, const struct rsrc_arguments *words) {
    struct rsrc_buffer text = {0};
    for (uint32_t i = 0; i < words->n; i++) {
        rsrc_buffer_puts(&text, "\"");
        for (const char *c = words->args[i]; *c != '\0'; c++) {
            if (*c == '"' || *c == '\\')
                rsrc_buffer_puts(&text, "\\");
            rsrc_buffer_append(&text, c, 1);
        }
        rsrc_buffer_puts(&text, "\"\n");
    }
    struct rsrc_arguments again = {0};
    if (rsrc_split_words(target->diag, &target->arena, "again", text.data, text.size_bytes,
                         &again) != RSRC_OK ||
        again.n != words->n)
        abort();
    for (uint32_t i = 0; i < words->n; i++)
        if (strcmp(again.args[i], words->args[i]) != 0)
            abort();
    rsrc_buffer_free(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size_bytes) {
    struct fuzz_target target;
    struct rsrc_arguments words = {0};
    fuzz_target_begin(&target);
    bool accepted = rsrc_split_words(target.diag, &target.arena, "fuzz", (const char *)bytes,
                                     size_bytes, &words) == RSRC_OK;
    if (accepted) {
        check_round_trip(&target, &words);
        (void)rsrc_choose_diagnostics(&words);
        struct rsrc_command_line line;
        accepted = rsrc_parse_options(target.diag, &target.arena, &words, &line) == RSRC_OK;
    }
    fuzz_target_end(&target, accepted);
    return 0;
}
