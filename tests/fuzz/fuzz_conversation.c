/* fuzz_conversation.c - any bytes as a conversation: refused with a sentence, or accepted; then
 * jansson accepts it as JSON, too, and it is rendered as valid UTF-8 with marks that fit. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "chat/chat_template.h"

static const char source[] = "{% for m in messages %}{{ m.role ~ m.content | trim }}{{ m | tojson "
                             "}}{% for k, v in m.items() %}"
                             "{{ k.upper() }}{{ v | string if v is number else v | "
                             "tojson(indent=1) }}{% endfor %}{% endfor %}"
                             "{% for t in tools or [] %}{{ t | tojson }}{{ t == tools[0] }}{% "
                             "endfor %}{{ messages[1:] | length }}";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct rsr_chat_template *chat = NULL;
    struct rsr_chat_text out = {{0}, {0}};
    rsr_error err = RSR_ERROR_INIT;
    const char *text = size > 0 ? (const char *)data : "";
    const struct rsr_chat_input input = {
        .conversation = text, .conversation_bytes = size, .bos_text = "<s>", .eos_text = ""};
    if (rsr_chat_template_parse(source, sizeof(source) - 1, &chat, &err) != RSR_OK)
        abort();
    const rsr_status status = rsr_chat_template_render(chat, &input, &out, &err);
    if (status != RSR_OK && (err.message[0] == '\0' || out.text.size > 0 || out.marks.size > 0))
        abort();
    json_t *json = json_loadb(text, size, JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, NULL);
    if (status == RSR_OK && !json && rsr_utf8_is_valid(text, size))
        abort();
    json_decref(json);
    if (!rsr_utf8_is_valid(out.text.data ? out.text.data : "", out.text.size) ||
        (out.marks.size > 0 && out.marks.size != out.text.size))
        abort();
    rsr_chat_text_free(&out);
    rsr_chat_template_destroy(chat);
    return 0;
}
