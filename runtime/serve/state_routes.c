/* state_routes.c - routes that report the state of the server. */
#include <stdlib.h>
#include <string.h>

#include "embedder.h"
#include "metrics.h"
#include "model_report.h"
#include "models.h"
#include "replies.h"
#include "routes.h"
#include "scheduler.h"

/* ---- Models ---------------------------------------------------------------------------------- */

static json_t *model_json(const struct serve_model *model) {
    return json_pack("{s:o, s:s, s:I, s:s, s:I, s:s, s:b, s:b, s:b, s:b}", "id",
                     serve_text_json(model->name, strlen(model->name)), "object", "model",
                     "created", (json_int_t)model->created, "owned_by", "rsrc", "max_model_len",
                     (json_int_t)serve_max_tokens(model), "fingerprint", model->fingerprint,
                     "has_chat_template",
                     model->info.has_chat_template && !model->info.chat_problem, "has_tools",
                     model->tools != SERVE_TOOLS_NONE, "has_embeddings", model->pooling != NULL,
                     "generates", model->info.pooling == NULL);
}

static json_t *models_json(const struct serve_server *server,
                           json_t *(*describe)(const struct serve_model *model)) {
    json_t *list = json_array();
    for (uint32_t i = 0; i < server->n_models; i++)
        if (json_array_append_new(list, describe(&server->models[i])) != 0) {
            json_decref(list);
            return NULL;
        }
    return list;
}

void serve_list_models(struct serve_server *server, const struct serve_request *request,
                       struct serve_reply *reply) {
    (void)request;
    serve_reply_json(
        reply, 200,
        json_pack("{s:s, s:o}", "object", "list", "data", models_json(server, model_json)));
}

void serve_show_model(struct serve_server *server, const struct serve_request *request,
                      struct serve_reply *reply) {
    const char *name = request->path + strlen("/v1/models/");
    const struct serve_model *model = serve_find_model(server, name);
    struct serve_error error;
    if (model) {
        serve_reply_json(reply, 200, model_json(model));
        return;
    }
    serve_fail(&error, 404, "model_not_found", "model",
               "There is no model \"%.200s\" here; /v1/models lists the models.", name);
    serve_reply_error(reply, &error);
}

/* ---- State ----------------------------------------------------------------------------------- */

static const char *state_name(const struct serve_server *server) {
    switch (atomic_load(&server->state)) {
    case SERVE_LOADING:
        return "loading";
    case SERVE_READY:
        return "ok";
    case SERVE_DRAINING:
        return "draining";
    }
    return "unknown";
}

void serve_health(struct serve_server *server, const struct serve_request *request,
                  struct serve_reply *reply) {
    (void)request;
    serve_reply_json(
        reply, 200,
        json_pack("{s:s, s:s}", "status", state_name(server), "version", rsr_version()));
}

void serve_ready(struct serve_server *server, const struct serve_request *request,
                 struct serve_reply *reply) {
    const bool is_ready = atomic_load(&server->state) == SERVE_READY;
    (void)request;
    serve_reply_json(reply, is_ready ? 200 : 503, json_pack("{s:s}", "status", state_name(server)));
}

void serve_show_metrics(struct serve_server *server, const struct serve_request *request,
                        struct serve_reply *reply) {
    (void)request;
    reply->status = 200;
    reply->content_type = "text/plain; version=0.0.4; charset=utf-8";
    if (!serve_metrics_print(server, &reply->body))
        serve_reply_json(reply, 500, NULL);
}

static json_t *slot_json(const struct serve_server *server, const struct serve_slot *slot,
                         size_t id) {
    const char *name = server->models[slot->model].name;
    const double seconds = slot->is_busy ? (double)(serve_now_ns() - slot->begun_ns) * 1e-9 : 0;
    return json_pack("{s:I, s:b, s:o, s:I, s:I, s:I, s:f}", "id", (json_int_t)id, "is_busy",
                     slot->is_busy, "model", serve_text_json(name, strlen(name)), "prompt_tokens",
                     (json_int_t)slot->n_prompt_tokens, "evaluated_tokens",
                     (json_int_t)slot->n_evaluated, "generated_tokens",
                     (json_int_t)slot->n_generated, "seconds", seconds);
}

void serve_show_slots(struct serve_server *server, const struct serve_request *request,
                      struct serve_reply *reply) {
    (void)request;
    const size_t n = serve_scheduler_slots(server->scheduler, NULL, 0);
    struct serve_slot *slots = calloc(n + 1, sizeof(*slots));
    json_t *list = slots ? json_array() : NULL;
    const size_t known = slots ? serve_scheduler_slots(server->scheduler, slots, n) : 0;
    for (size_t i = 0; list && i < known && i < n; i++)
        json_array_append_new(list, slot_json(server, &slots[i], i));
    free(slots);
    serve_reply_json(reply, 200, list);
}

/* The JSON of rsr-run --info --json for the model, and the model's name on this server. */
static json_t *report_json(const struct serve_model *model) {
    struct rsr_report report;
    json_t *json = NULL;
    if (rsr_report_create(model->model, &model->info, &report))
        json = rsr_report_json(&report);
    rsr_report_destroy(&report);
    if (json)
        json_object_set_new(json, "id", serve_text_json(model->name, strlen(model->name)));
    return json;
}

void serve_show_report(struct serve_server *server, const struct serve_request *request,
                       struct serve_reply *reply) {
    (void)request;
    serve_reply_json(reply, 200, json_pack("{s:o}", "models", models_json(server, report_json)));
}
