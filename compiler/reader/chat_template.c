/* chat_template.c - tries a chat template with the runtime's code, which will render it: a template
 * that cannot run is reported when the model is compiled, not at the first chat.
 */
#include <string.h>

#include "chat/chat_template.h"
#include "reader/reader.h"

#define HELP                                                                                       \
    "the model is compiled, and serves prompts without a template; rsr-run --chat will stop with " \
    "this sentence"

void rsrc_probe_chat_template(struct rsrc_diag *diag, struct rsrc_arena *arena, const char *file,
                              struct rsr_tokenizer *tokenizer) {
    struct rsr_chat_template *chat = NULL;
    rsr_error err = RSR_ERROR_INIT;
    const char *text = tokenizer->chat_template;
    if (text == NULL || tokenizer->section == NULL) {
        return;
    }
    rsr_status status = rsr_chat_template_parse(text, strlen(text), &chat, &err);
    if (status == RSR_OK) {
        status = rsr_chat_template_probe(chat, tokenizer->bos_text, tokenizer->eos_text, &err);
    }
    rsr_chat_template_destroy(chat);
    if (status != RSR_OK) {
        const struct rsrc_place place = {.file = file};
        tokenizer->chat_problem = rsrc_arena_strdup(arena, err.message);
        rsrc_warning(diag, "chat-template", &place, HELP, "%s", err.message);
    }
}
