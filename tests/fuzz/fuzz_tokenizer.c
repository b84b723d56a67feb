/* fuzz_tokenizer.c - any bytes as a tokenizer.json, then as tokenizer_config.json. Every offset and
 * id of an accepted section that the runtime relies on is checked. Then the runtime, which may
 * refuse only its patterns, tokenizes text with it and back. */
#include <string.h>
#include <unistd.h>

#include "fuzz_target.h"
#include "reader/reader.h"
#include "tokenizer/text.h"
#include "tokenizer/tokenizer.h"

/* The part lies inside the section, aligned. */
static const void *part(const struct rsr_tokenizer_header *header, uint64_t at, uint64_t n,
                        uint64_t width) {
    assert(at % 8 == 0 && at <= header->size_bytes);
    assert(n <= (header->size_bytes - at) / width);
    return (const char *)header + at;
}

static void check_section(const struct rsr_tokenizer *tokenizer) {
    const struct rsr_tokenizer_header *h = tokenizer->section;
    assert(h->magic == RSR_TOKENIZER_MAGIC && h->size_bytes == tokenizer->size_bytes);
    const uint64_t *begin = part(h, h->text_begin_at, h->n_tokens + UINT64_C(1), 8);
    const uint8_t *flags = part(h, h->flags_at, h->n_tokens, 1);
    assert(begin[0] == 0);
    for (uint32_t i = 0; i < h->n_tokens; i++) {
        assert(begin[i] <= begin[i + 1]);
        assert((begin[i] == begin[i + 1]) == ((flags[i] & RSR_TOKEN_UNUSED) != 0));
    }
    part(h, h->text_at, begin[h->n_tokens], 1);
    const struct rsr_merge *merges = part(h, h->merges_at, h->n_merges, sizeof(*merges));
    for (uint32_t i = 0; i < h->n_merges; i++) {
        const struct rsr_merge *m = &merges[i];
        assert(m->left < h->n_tokens && m->right < h->n_tokens && m->result < h->n_tokens);
        assert(i == 0 || m[-1].left < m->left || (m[-1].left == m->left && m[-1].right < m->right));
    }
    const struct rsr_pretokenizer *steps =
        part(h, h->pretokenizers_at, h->n_pretokenizers, sizeof(*steps));
    for (uint32_t i = 0; i < h->n_pretokenizers; i++) {
        part(h, steps[i].pattern_at, steps[i].pattern_bytes, 1);
        assert(steps[i].behavior <= 4);
    }
    const uint32_t *prefix = part(h, h->prefix_at, h->n_prefix, sizeof(*prefix));
    const uint32_t *suffix = part(h, h->suffix_at, h->n_suffix, sizeof(*suffix));
    for (uint32_t i = 0; i < h->n_prefix; i++) {
        assert(prefix[i] < h->n_tokens);
    }
    for (uint32_t i = 0; i < h->n_suffix; i++) {
        assert(suffix[i] < h->n_tokens);
    }
    for (uint32_t i = 0; i < 256; i++) {
        assert(h->byte_token[i] == RSR_NO_TOKEN || h->byte_token[i] < h->n_tokens);
    }
}

static void use_section(const struct rsr_tokenizer *tokenizer) {
    static const char text[] =
        " a<s>  b\xc3\xa9\xe2\x96\x81 e\xcc\x81\xff\xf0\x9f\x98\x80<0x0A>\n ab";
    struct rsr_module module = {.tokenizer = tokenizer->section,
                                .hyper.vocab = tokenizer->section->n_tokens};
    struct rsr_model model = {.module = &module, .owner_pid = (int)getpid()};
    rsr_error err = RSR_ERROR_INIT;
    rsr_status status = rsr_text_create(&module, &model.text, &err);
    assert(status == RSR_OK || (status == RSR_ERR_TEXT && strstr(err.message, "split pattern")));
    if (status != RSR_OK)
        return;
    uint32_t ids[512];
    char back[512];
    size_t n_ids = 0, n_bytes = 0;
    status = rsr_api_tokenize(&model, text, sizeof(text) - 1, 3, ids, 512, &n_ids, NULL);
    assert(status == RSR_OK || status == RSR_ERR_FULL || status == RSR_ERR_TEXT);
    if (status == RSR_OK) {
        status = rsr_api_detokenize(&model, ids, n_ids, false, back, sizeof(back), &n_bytes, NULL);
        assert(status == RSR_OK || status == RSR_ERR_FULL || status == RSR_ERR_TEXT);
        assert(status != RSR_OK || rsr_utf8_is_valid(back, n_bytes));
    }
    rsr_text_destroy(model.text);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size_bytes) {
    struct fuzz_target target;
    struct rsr_tokenizer tokenizer = {.bos_text = "", .eos_text = ""};
    fuzz_target_begin(&target);
    bool accepted = rsrc_parse_tokenizer(target.diag, &target.arena, "tokenizer.json", bytes,
                                         size_bytes, &tokenizer) == RSRC_OK;
    if (accepted) {
        check_section(&tokenizer);
        use_section(&tokenizer);
    }
    fuzz_target_end(&target, accepted);

    fuzz_target_begin(&target);
    static const char known[] =
        "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]},"
        "\"added_tokens\":[{\"id\":1,\"content\":\"<s>\"}],"
        "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false}}";
    bool lists_added;
    accepted =
        rsrc_parse_tokenizer(target.diag, &target.arena, "tokenizer.json", (const uint8_t *)known,
                             sizeof(known) - 1, &tokenizer) == RSRC_OK &&
        rsrc_parse_tokenizer_config(target.diag, &target.arena, "tokenizer_config.json", bytes,
                                    size_bytes, &tokenizer, &lists_added) == RSRC_OK;
    assert(tokenizer.bos_text != NULL && tokenizer.eos_text != NULL);
    fuzz_target_end(&target, accepted);
    return 0;
}
