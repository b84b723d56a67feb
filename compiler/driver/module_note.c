/* module_note.c - what a module's note (rsr_abi.h) says about its compilation: enough to repeat it.
 *
 * The note has names of targets, never paths, and a hash of each resolved description.
 */
#include "driver/compilation.h"
#include "options.h"
#include "spec/spec.h"

static void hash_targets(const struct rsrc_input_set *in, uint8_t out[16]) {
    struct rsr_hash hash;
    rsr_hash_init(&hash);
    for (uint32_t t = 0; t < in->n_specs; t++) {
        struct rsrc_buffer text = {0};
        rsrc_print_spec(&in->specs[t], &text);
        rsrc_cache_key_text(&hash, text.data, text.size_bytes);
        rsrc_buffer_free(&text);
    }
    rsr_hash_final(&hash, out);
}

static void put_options(const struct rsrc_input_set *in, const char *stem,
                        struct rsrc_buffer *out) {
    rsrc_buffer_puts(out, "--target=");
    for (uint32_t t = 0; t < in->n_specs; t++)
        rsrc_buffer_printf(out, "%s%s", t == 0 ? "" : ",", in->specs[t].name);
    rsrc_print_options(in->run->options, out);
    if (stem != NULL) /* names of functions begin with it */
        rsrc_buffer_printf(out, " -o=%s.so", stem);
}

struct rsr_module_note rsrc_describe_module(struct rsrc_compilation *c, const char *stem) {
    struct rsr_module_note note = {.checkpoint = c->inputs.checkpoint.hash};
    struct rsrc_buffer text = {0};
    hash_targets(&c->inputs, note.targets);
    put_options(&c->inputs, stem, &text);
    note.options =
        text.size_bytes < RSR_NOTE_OPTIONS ? rsrc_arena_strdup(&c->run.arena, text.data) : "";
    rsrc_buffer_free(&text);
    return note;
}
