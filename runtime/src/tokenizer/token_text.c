/* token_text.c - tokens to text for callers that have them one at a time: rsr_detokenizer and
 * rsr_model_get_token of rsr.h. */
#include <stdlib.h>

#include "detokenize.h"
#include "text.h"

struct rsr_detokenizer {
    const struct rsr_api *api; /* first, always */
    uint32_t flags;
    struct rsr_text_stream stream;
    struct rsr_bytes text; /* the text that the last call returned */
};

static void begin(rsr_detokenizer *d, const rsr_model *model) {
    rsr_text_stream_begin(&d->stream, model, (d->flags & RSR_DETOKENIZE_SKIP_SPECIAL) != 0,
                          (d->flags & RSR_DETOKENIZE_CONTINUES) != 0);
}

rsr_status rsr_api_detokenizer_create(const rsr_model *model, uint32_t flags,
                                      rsr_detokenizer **detokenizer, rsr_error *err) {
    const uint32_t known = RSR_DETOKENIZE_SKIP_SPECIAL | RSR_DETOKENIZE_CONTINUES;
    if (!detokenizer || (flags & ~known) != 0)
        return rsr_fail(err, RSR_ERR_ARGUMENT,
                        "rsr_detokenizer_create: a parameter is NULL or unknown");
    const rsr_status status = rsr_check_tokenizer(model, err);
    if (status != RSR_OK)
        return status;
    rsr_detokenizer *made = calloc(1, sizeof(*made));
    if (!made)
        return rsr_fail(err, RSR_ERR_MEMORY, "no memory for a detokenizer");
    made->api = model->api;
    made->flags = flags;
    begin(made, model);
    *detokenizer = made;
    return RSR_OK;
}

void rsr_api_detokenizer_destroy(rsr_detokenizer *detokenizer) {
    if (!detokenizer)
        return;
    rsr_text_stream_free(&detokenizer->stream);
    rsr_bytes_free(&detokenizer->text);
    free(detokenizer);
}

/* Gives out the text that the call has made. */
static rsr_status give(const rsr_detokenizer *d, rsr_status status, const char **text,
                       size_t *text_bytes) {
    if (status != RSR_OK)
        return status;
    *text = d->text.data ? d->text.data : "";
    *text_bytes = d->text.size;
    return RSR_OK;
}

static rsr_status check(const rsr_detokenizer *d, const char **text, const size_t *text_bytes,
                        rsr_error *err) {
    if (!text || !text_bytes)
        return rsr_fail(err, RSR_ERR_ARGUMENT, "rsr_detokenizer: a parameter is NULL");
    return rsr_check_owner(d->stream.model->owner_pid, err);
}

rsr_status rsr_api_detokenizer_push(rsr_detokenizer *d, uint32_t token, const char **text,
                                    size_t *text_bytes, rsr_error *err) {
    const rsr_status status = check(d, text, text_bytes, err);
    if (status != RSR_OK)
        return status;
    d->text.size = 0;
    return give(d, rsr_text_stream_push(&d->stream, token, &d->text, err), text, text_bytes);
}

rsr_status rsr_api_detokenizer_finish(rsr_detokenizer *d, const char **text, size_t *text_bytes,
                                      rsr_error *err) {
    rsr_status status = check(d, text, text_bytes, err);
    if (status != RSR_OK)
        return status;
    d->text.size = 0;
    status = rsr_text_stream_finish(&d->stream, &d->text, err);
    if (status == RSR_OK) {
        const rsr_model *model = d->stream.model;
        rsr_text_stream_free(&d->stream);
        begin(d, model);
    }
    return give(d, status, text, text_bytes);
}

static rsr_token_info describe(const rsr_model *model, uint32_t token, bool is_byte) {
    const struct rsr_encoder *encoder = model->text->encoder;
    rsr_token_info info = RSR_TOKEN_INFO_INIT;
    info.is_byte = is_byte;
    info.is_special =
        token < encoder->header->n_tokens && (encoder->flags[token] & RSR_TOKEN_SPECIAL) != 0;
    for (uint32_t i = 0; i < model->module->n_stop_tokens; i++)
        info.is_stop |= model->module->stop_tokens[i] == token;
    return info;
}

rsr_status rsr_api_model_get_token(const rsr_model *model, uint32_t token, char *bytes,
                                   size_t capacity, size_t *n_bytes, rsr_token_info *info,
                                   rsr_error *err) {
    if (!n_bytes || (!bytes && capacity > 0))
        return rsr_fail(err, RSR_ERR_ARGUMENT, "rsr_model_get_token: a parameter is NULL");
    rsr_status status = rsr_check_tokenizer(model, err);
    if (status == RSR_OK && info)
        status = rsr_check_info(info, err);
    if (status != RSR_OK)
        return status;
    struct rsr_text_stream stream;
    bool is_byte = false;
    rsr_text_stream_begin(&stream, model, false, true);
    status = rsr_text_stream_find(&stream, token, &is_byte, err);
    if (status == RSR_OK && info) {
        const rsr_token_info known = describe(model, token, is_byte);
        status = rsr_write_info(info, &known, sizeof(known), err);
    }
    if (status == RSR_OK)
        status = rsr_text_deliver(&stream.bytes, bytes, capacity, n_bytes, err);
    rsr_text_stream_free(&stream);
    return status;
}
