/* fuzz_chat_template.c - any bytes as a chat template: refused with a sentence or rendered, in
 * bounds. */
#include <stdlib.h>
#include <string.h>

#include "chat/chat_template.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct rsr_chat_template *chat = NULL;
    rsr_error err = RSR_ERROR_INIT;
    if (rsr_chat_template_parse((const char *)data, size, &chat, &err) != RSR_OK) {
        if (err.message[0] == '\0')
            abort();
        return 0;
    }
    static const rsr_message messages[] = {{"system", " be \xc3\xa9 terse "},
                                           {"user", "hello\n"},
                                           {"assistant", "<think>x</think> y"},
                                           {"user", ""}};
    struct rsr_chat_input input = {messages, 4, NULL, 0, true, "<s>", "</s>", NULL};
    struct rsr_chat_text out = {{0}, {0}};
    if (rsr_chat_template_render(chat, &input, &out, &err) != RSR_OK && err.message[0] == '\0')
        abort();
    if (!rsr_utf8_is_valid(out.text.data ? out.text.data : "", out.text.size))
        abort();
    rsr_chat_text_free(&out);
    rsr_chat_template_destroy(chat);
    return 0;
}
