/* serve_models.c - see models.h.
 *
 * Keys and values: a model gets room for slots x context tokens, but at most its share of half of
 * the memory that is free when it is opened; pages are committed as they are used. With --kv-tokens
 * the model gets the room that was asked for, committed at once: too little memory then gives a
 * message at the start instead of a killed process later. With several ranks all take the room that
 * the one with the least memory has.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "host/host_memory.h"
#include "log.h"
#include "models.h"
#include "rsr_hash.h"
#include "serve_ranks.h"
#include "settings.h"

/* ---- The engine ------------------------------------------------------------------------------ */

static bool fail(const struct serve_model *model, const rsr_error *err) {
    return serve_log("%s: %s", model->name, err->message);
}

/* Sketches of keys and values on a disk stay in memory. They are up to a third of what an index
 * takes, so half of this many memories leave some of the memory to others. */
#define MOST_MEMORIES 4u

/* What is free for keys and values. A folder that is not there is the engine's to refuse. */
static uint64_t room_for_kv(const struct serve_settings *settings) {
    const uint64_t memory = rsr_host_memory_left();
    struct statvfs disk;
    uint64_t bytes;
    if (settings->kv_dir == NULL || statvfs(settings->kv_dir, &disk) != 0 ||
        __builtin_mul_overflow((uint64_t)disk.f_bavail, (uint64_t)disk.f_frsize, &bytes))
        return memory;
    return bytes / MOST_MEMORIES < memory ? bytes : memory * MOST_MEMORIES;
}

/* How many tokens have keys and values that fit into `bytes`: at most `wanted`, at least a page. */
static uint32_t fit_tokens(uint64_t wanted, uint64_t bytes, uint64_t token_bytes, uint32_t page) {
    const uint64_t fitting = token_bytes != 0 ? bytes / token_bytes : wanted;
    const uint64_t tokens = wanted < fitting ? wanted : fitting / page * page;
    return tokens > UINT32_MAX / 2 ? UINT32_MAX / 2 : tokens < page ? page : (uint32_t)tokens;
}

/* Creates an engine with room for kv_tokens tokens; no text is longer. */
static bool create_engine(const struct serve_server *server, struct serve_model *model,
                          uint32_t context, uint32_t kv_tokens) {
    const struct serve_settings *settings = server->settings;
    rsr_error err = RSR_ERROR_INIT;
    rsr_transport transport;
    rsr_engine_options options = RSR_ENGINE_OPTIONS_INIT;
    options.n_threads = settings->threads;
    options.context = context < kv_tokens ? context : kv_tokens;
    options.kv_tokens = kv_tokens;
    options.attention = settings->attention;
    options.kv_type = settings->kv_type;
    options.kv_dir = settings->kv_dir;
    options.state_type = settings->state_type;
    options.device = settings->device;
    options.max_stall_ms = settings->max_stall_ms;
    options.kv_commit = settings->kv_tokens != 0;
    if (server->ranks != NULL) {
        serve_ranks_open(server->ranks, &transport);
        options.transport = &transport;
    }
    model->engine_info = (rsr_engine_info)RSR_ENGINE_INFO_INIT;
    return (rsr_engine_create(model->model, &options, &model->engine, &err) == RSR_OK &&
            rsr_engine_get_info(model->engine, &model->engine_info) == RSR_OK) ||
           fail(model, &err);
}

/* The memory for a token depends on --kv-type and --attention. If an engine takes more than was
 * estimated, it is created again with less room. */
static bool open_engine(const struct serve_server *server, struct serve_model *model,
                        uint64_t bytes) {
    const struct serve_settings *settings = server->settings;
    const uint32_t context = settings->context != 0 ? settings->context : model->info.context;
    const uint32_t page = model->info.kv_page_tokens != 0 ? model->info.kv_page_tokens : 64;
    const uint64_t wanted = (uint64_t)settings->slots * ((context + page - 1) / page * page);
    if (settings->kv_tokens != 0)
        return create_engine(server, model, context, settings->kv_tokens);
    const uint32_t estimated = fit_tokens(wanted, bytes, model->info.kv_token_bytes, page);
    if (!create_engine(server, model, context, serve_ranks_least(server->ranks, estimated)))
        return false;
    const bool fits = model->engine_info.kv_bytes <= bytes;
    if (serve_ranks_least(server->ranks, fits) != 0)
        return true;
    const uint32_t fitting = fit_tokens(wanted, bytes, model->engine_info.kv_token_bytes, page);
    if (!serve_ranks_end_engine(server->ranks, model))
        return false;
    return create_engine(server, model, context, serve_ranks_least(server->ranks, fitting));
}

/* ---- What a model can ------------------------------------------------------------------------ */

/* Finds the form in which the template tells the model to call a tool, by rendering one. */
static enum serve_tool_format find_tool_format(const struct serve_model *model) {
    static const char conversation[] = "{\"messages\": [{\"role\": \"user\", \"content\": \"?\"}], "
                                       "\"tools\": [{\"type\": \"function\", "
                                       "\"function\": {\"name\": \"rsr_probe\", \"description\": "
                                       "\"?\", \"parameters\": {\"type\": \"object\", "
                                       "\"properties\": {}}}}]}";
    enum { CAPACITY = 1 << 16 };
    char *text = model->info.has_chat_template ? malloc(CAPACITY + 1) : NULL;
    size_t n = 0;
    enum serve_tool_format format = SERVE_TOOLS_NONE;
    if (text && rsr_chat_format_json(model->model, conversation, sizeof(conversation) - 1, true,
                                     text, CAPACITY, &n, NULL) == RSR_OK) {
        text[n] = '\0';
        if (strstr(text, "rsr_probe") && strstr(text, "<tool_call>"))
            format = SERVE_TOOLS_TAGGED;
        else if (strstr(text, "rsr_probe") &&
                 strstr(text, "{\"name\": function name, \"parameters\":"))
            format = SERVE_TOOLS_LLAMA3;
    }
    free(text);
    return format;
}

static void set_fingerprint(struct serve_model *model) {
    char hash[RSR_HASH_TEXT_BYTES];
    rsr_hash_text(model->info.model_hash, hash);
    snprintf(model->fingerprint, sizeof(model->fingerprint), "fp_%.16s_%s", hash,
             model->info.target);
}

static bool open_text(const struct serve_settings *settings, struct serve_model *model) {
    rsr_error err = RSR_ERROR_INIT;
    model->pooling = model->info.pooling ? model->info.pooling : settings->pooling;
    if (model->info.has_tokenizer && !model->info.pooling &&
        rsr_vocabulary_create(model->model, &model->vocabulary, &err) != RSR_OK)
        return fail(model, &err);
    if (!settings->no_prefix_cache && !model->info.pooling &&
        rsr_prefix_cache_create(model->engine, NULL, &model->cache, &err) != RSR_OK)
        return fail(model, &err);
    model->tools = find_tool_format(model);
    return true;
}

/* ---- All of them ----------------------------------------------------------------------------- */

static void print_model(const struct serve_settings *settings, const struct serve_model *model) {
    const rsr_engine_info *engine = &model->engine_info;
    const double mib = 1024.0 * 1024;
    serve_log("%s: %s, target %s, %" PRIu32 " threads, %.0f MiB of weights", model->name,
              model->path, model->info.target, engine->n_threads,
              (double)model->info.weight_bytes / mib);
    serve_log("%s: %" PRIu32 " slots share keys and values of %" PRIu32
              " tokens (%s): %.0f MiB, %s; a text has at "
              "most %" PRIu32 " tokens, %.1f MiB",
              model->name, settings->slots, engine->kv_tokens, engine->kv_type,
              (double)engine->kv_bytes / mib,
              settings->kv_tokens != 0 ? "committed" : "as they are used", engine->context,
              (double)engine->context * (double)engine->kv_token_bytes / mib);
}

static bool open_model(struct serve_server *server, struct serve_model *model) {
    const struct serve_settings *settings = server->settings;
    const uint32_t n_left = settings->n_models - model->index;
    rsr_error err = RSR_ERROR_INIT;
    rsr_open_options options = RSR_OPEN_OPTIONS_INIT;
    struct stat file;
    options.target = settings->target;
    model->info = (rsr_model_info)RSR_MODEL_INFO_INIT;
    if (rsr_open(model->path, &options, &model->model, &err) != RSR_OK ||
        rsr_model_get_info(model->model, &model->info) != RSR_OK)
        return fail(model, &err);
    if (model->info.is_hollow)
        serve_log("%s: warning: the module is hollow: its weights are random, for measuring alone",
                  model->path);
    const uint32_t n_shares = 2 * n_left * serve_ranks_neighbours(server->ranks);
    if (!open_engine(server, model, room_for_kv(settings) / n_shares))
        return false;
    if (!serve_ranks_follows(server->ranks) && !open_text(settings, model))
        return false;
    model->created = stat(model->path, &file) == 0 ? (int64_t)file.st_mtime : 0;
    set_fingerprint(model);
    print_model(settings, model);
    return true;
}

bool serve_open_models(struct serve_server *server) {
    const struct serve_settings *settings = server->settings;
    for (uint32_t i = 0; i < settings->n_models; i++) {
        struct serve_model *model = &server->models[i];
        model->index = i;
        model->name = settings->models[i].name;
        model->path = serve_ranks_file(server->ranks, settings->models[i].path);
        server->n_models = i + 1;
        if (model->path == NULL || !open_model(server, model))
            return false;
    }
    return true;
}

void serve_close_models(struct serve_server *server) {
    for (uint32_t i = 0; i < server->n_models; i++) {
        struct serve_model *model = &server->models[i];
        rsr_vocabulary_destroy(model->vocabulary);
        rsr_prefix_cache_destroy(model->cache);
        rsr_engine_destroy(model->engine);
        rsr_close(model->model);
        free(model->path);
    }
}

const struct serve_model *serve_find_model(const struct serve_server *server, const char *name) {
    for (uint32_t i = 0; i < server->n_models; i++)
        if (strcmp(server->models[i].name, name) == 0)
            return &server->models[i];
    return NULL;
}
