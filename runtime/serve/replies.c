/* replies.c - see replies.h. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "replies.h"

/* OpenAI's clients use the type. */
static const char *type_of(unsigned status) {
    static const struct {
        unsigned status;
        const char *type;
    } types[] = {{401, "authentication_error"},
                 {403, "permission_error"},
                 {429, "rate_limit_error"},
                 {503, "service_unavailable_error"}};
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        if (types[i].status == status)
            return types[i].type;
    return status >= 500 ? "server_error" : "invalid_request_error";
}

bool serve_fail(struct serve_error *error, unsigned status, const char *code, const char *param,
                const char *format, ...) {
    va_list arguments;
    *error = (struct serve_error){.status = status, .type = type_of(status), .code = code};
    if (param)
        snprintf(error->param, sizeof(error->param), "%s", param);
    va_start(arguments, format);
    vsnprintf(error->message, sizeof(error->message), format, arguments);
    va_end(arguments);
    return false;
}

/* Messages may contain names of fields and parts of requests, and may be cut within a character. */
json_t *serve_text_json(const char *text, size_t n_bytes) {
    struct rsr_bytes repaired = {0};
    json_t *json = NULL;
    if (rsr_utf8_is_valid(text, n_bytes))
        return json_stringn(text, n_bytes);
    if (rsr_utf8_append_repaired(&repaired, text, n_bytes))
        json = json_stringn(repaired.data, repaired.size);
    rsr_bytes_free(&repaired);
    return json;
}

json_t *serve_error_json(const struct serve_error *error) {
    json_t *param =
        error->param[0] ? serve_text_json(error->param, strlen(error->param)) : json_null();
    return json_pack("{s:{s:o, s:s, s:o, s:s?}}", "error", "message",
                     serve_text_json(error->message, strlen(error->message)), "type", error->type,
                     "param", param, "code", error->code);
}

static void reply_no_memory(struct serve_reply *reply) {
    static const char text[] =
        "{\"error\": {\"message\": \"There is no memory left.\", \"type\": \"server_error\", "
        "\"param\": null, \"code\": \"out_of_memory\"}}\n";
    rsr_bytes_free(&reply->body);
    serve_reply_static(reply, "application/json", text, sizeof(text) - 1);
    reply->status = 500;
}

void serve_reply_json(struct serve_reply *reply, unsigned status, json_t *json) {
    char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
    json_decref(json);
    reply->status = status;
    reply->content_type = "application/json";
    if (!text || !rsr_bytes_append(&reply->body, text, strlen(text)) ||
        !rsr_bytes_append(&reply->body, "\n", 1))
        reply_no_memory(reply);
    free(text);
}

void serve_reply_error(struct serve_reply *reply, const struct serve_error *error) {
    serve_reply_json(reply, error->status, serve_error_json(error));
    if (error->status == 429 || error->status == 503)
        reply->retry_after_s = 1;
}

void serve_reply_static(struct serve_reply *reply, const char *content_type, const char *text,
                        size_t n_bytes) {
    reply->status = 200;
    reply->content_type = content_type;
    reply->static_body = text;
    reply->static_bytes = n_bytes;
}
