/* chat_template_probe.c - tries a chat template before the first chat does. */
#include "chat_template.h"

static const rsr_message conversation[] = {{"system", "Be short."},
                                           {"user", "Hello"},
                                           {"assistant", "Good day."},
                                           {"user", "What is new?"}};

/* Both turns, without the first n_skipped messages. */
static rsr_status render_turns(const struct rsr_chat_template *chat, struct rsr_chat_input input,
                               size_t n_skipped, rsr_error *err) {
    rsr_status status = RSR_OK;
    input.messages = conversation + n_skipped;
    for (size_t n = 2; n <= 4 && status == RSR_OK; n += 2) {
        struct rsr_chat_text out = {0};
        input.n_messages = n - n_skipped;
        status = rsr_chat_template_render(chat, &input, &out, err);
        rsr_chat_text_free(&out);
    }
    return status;
}

rsr_status rsr_chat_template_probe(const struct rsr_chat_template *chat, const char *bos_text,
                                   const char *eos_text, rsr_error *err) {
    bool raised = false;
    const struct rsr_chat_input input = {.add_generation_prompt = true,
                                         .bos_text = bos_text,
                                         .eos_text = eos_text,
                                         .raised = &raised};
    const rsr_status status = render_turns(chat, input, 0, err);
    if (status != RSR_OK && !raised)
        return status;
    raised = false;
    const rsr_status without_system = render_turns(chat, input, 1, err);
    return status == RSR_OK && raised ? RSR_OK : without_system;
}
