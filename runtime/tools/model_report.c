/* model_report.c - see model_report.h. */
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model_report.h"
#include "rsr_hash.h"

/* Whether this kernel is decode's: those come first, one for each layer; kernels of prefill that
 * differ follow. */
static bool is_first_of_layer(const struct rsr_report_kernel *kernels, size_t i) {
    for (size_t j = 0; j < i; j++)
        if (kernels[j].info.block == kernels[i].info.block &&
            strcmp(kernels[j].info.role, kernels[i].info.role) == 0)
            return false;
    return true;
}

/* The runtime of an older module does not say what a token usually reads: all then. */
static uint64_t usual_bytes(const rsr_kernel_info *kernel) {
    return kernel->token_bytes != 0 ? kernel->token_bytes : kernel->weight_bytes;
}

static bool collect_kernels(const rsr_model *model, struct rsr_report *report) {
    rsr_kernel_info info = RSR_KERNEL_INFO_INIT;
    size_t n = 0;
    while (rsr_model_get_kernel(model, (uint32_t)n, &info) == RSR_OK)
        n++;
    report->kernels = calloc(n + 1, sizeof(*report->kernels));
    report->n_kernels = report->kernels ? n : 0;
    for (size_t i = 0; i < report->n_kernels; i++) {
        struct rsr_report_kernel *kernel = &report->kernels[i];
        kernel->info = (rsr_kernel_info)RSR_KERNEL_INFO_INIT;
        if (rsr_model_get_kernel(model, (uint32_t)i, &kernel->info) != RSR_OK)
            return false;
        kernel->decodes = is_first_of_layer(report->kernels, i);
    }
    return report->kernels != NULL;
}

static bool same_group(const rsr_kernel_info *a, const rsr_kernel_info *b) {
    return a->rows == b->rows && a->cols == b->cols && strcmp(a->role, b->role) == 0 &&
           strcmp(a->variant, b->variant) == 0;
}

static bool group_kernels(struct rsr_report *report) {
    struct rsr_report_group *groups = report->groups =
        calloc(report->n_kernels + 1, sizeof(*groups));
    if (!groups)
        return false;
    report->usual_bytes = calloc((size_t)report->info->n_layers + 1, sizeof(*report->usual_bytes));
    if (!report->usual_bytes)
        return false;
    report->other_token_bytes = report->info->token_bytes;
    report->other_usual_bytes = report->info->usual_token_bytes != 0
                                    ? report->info->usual_token_bytes
                                    : report->info->token_bytes;
    for (size_t i = 0; i < report->n_kernels; i++) {
        const struct rsr_report_kernel *kernel = &report->kernels[i];
        size_t g = 0;
        while (g < report->n_groups && !same_group(&groups[g].first, &kernel->info))
            g++;
        if (g == report->n_groups)
            groups[report->n_groups++].first = kernel->info;
        groups[g].n++;
        groups[g].weight_bytes += kernel->info.weight_bytes;
        if (kernel->decodes) {
            groups[g].token_bytes += kernel->info.weight_bytes;
            report->other_token_bytes -= kernel->info.weight_bytes;
            groups[g].usual_bytes += usual_bytes(&kernel->info);
            report->other_usual_bytes -= usual_bytes(&kernel->info);
            if (kernel->info.block < report->info->n_layers)
                report->usual_bytes[kernel->info.block] += usual_bytes(&kernel->info);
        }
    }
    return true;
}

/* Measures with an engine for a few tokens, because the full context may not fit this machine. */
static void measure_memory(rsr_model *model, struct rsr_report *report) {
    rsr_engine_options options = RSR_ENGINE_OPTIONS_INIT;
    options.n_threads = 1;
    options.context = report->info->context < 2 ? 0 : 2;
    rsr_engine *engine = NULL;
    rsr_engine_info info = RSR_ENGINE_INFO_INIT;
    if (rsr_engine_create(model, &options, &engine, NULL) != RSR_OK)
        return;
    if (rsr_engine_get_info(engine, &info) == RSR_OK && info.kv_tokens != 0) {
        report->kv_type = info.kv_type;
        report->kv_bytes_token = info.kv_token_bytes;
        report->arena_bytes = info.arena_bytes;
        report->state_bytes = info.state_bytes;
    }
    rsr_engine_destroy(engine);
}

bool rsr_report_create(rsr_model *model, const rsr_model_info *info, struct rsr_report *report) {
    *report = (struct rsr_report){.model = model, .info = info};
    if (!collect_kernels(model, report) || !group_kernels(report))
        return false;
    measure_memory(model, report);
    return true;
}

void rsr_report_destroy(struct rsr_report *report) {
    free(report->kernels);
    free(report->groups);
    free(report->usual_bytes);
}

/* ---- As JSON --------------------------------------------------------------------------------- */

rsr_sampling rsr_report_whole_sampling(const rsr_sampling *s) {
    rsr_sampling known = RSR_SAMPLING_INIT;
    memcpy(&known, s, s->size_bytes < sizeof(known) ? s->size_bytes : sizeof(known));
    known.size_bytes = sizeof(known);
    return known;
}

/* Biases by token, as in OpenAI's API; null: minus infinity. */
static json_t *biases_json(const rsr_sampling *s) {
    json_t *root = json_object();
    for (size_t i = 0; i < s->n_logit_bias; i++) {
        char token[16];
        const double bias = (double)s->logit_bias[i].bias;
        snprintf(token, sizeof(token), "%" PRIu32, s->logit_bias[i].token);
        json_object_set_new(root, token, isinf(bias) ? json_null() : json_real(bias));
    }
    return root;
}

json_t *rsr_report_sampling_json(const rsr_sampling *given) {
    if (!given)
        return json_null();
    const rsr_sampling sampling = rsr_report_whole_sampling(given), *s = &sampling;
    json_t *root = json_pack("{s:f, s:I, s:f, s:f, s:f}", "temperature", (double)s->temperature,
                             "top_k", (json_int_t)s->top_k, "top_p", (double)s->top_p, "min_p",
                             (double)s->min_p, "repeat_penalty", (double)s->repeat_penalty);
    if (s->presence_penalty != 0)
        json_object_set_new(root, "presence_penalty", json_real((double)s->presence_penalty));
    if (s->frequency_penalty != 0)
        json_object_set_new(root, "frequency_penalty", json_real((double)s->frequency_penalty));
    if (s->n_logit_bias > 0)
        json_object_set_new(root, "logit_bias", biases_json(s));
    return root;
}

static json_t *token_json(uint32_t token) {
    return token == UINT32_MAX ? json_null() : json_integer(token);
}

static json_t *info_json(const rsr_model_info *info) {
    char hash[RSR_HASH_TEXT_BYTES];
    rsr_hash_text(info->model_hash, hash);
    json_t *targets = json_array(), *stop_tokens = json_array();
    for (uint32_t i = 0; i < info->n_targets; i++)
        json_array_append_new(targets, json_string(info->targets[i]));
    for (uint32_t i = 0; i < info->n_stop_tokens; i++)
        json_array_append_new(stop_tokens, json_integer(info->stop_tokens[i]));
    return json_pack(
        "{s:s?, s:s, s:s, s:s, s:s, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, "
        "s:s, s:b, s:b, s:s?, s:o, s:o, s:o}",
        "name", info->name, "architecture", info->architecture, "compiler_version",
        info->compiler_version, "model_hash", hash, "target", info->target, "targets", targets,
        "hidden", (json_int_t)info->hidden, "layers", (json_int_t)info->n_layers, "heads",
        (json_int_t)info->n_heads, "kv_heads", (json_int_t)info->n_kv_heads, "head_dim",
        (json_int_t)info->head_dim, "ffn", (json_int_t)info->ffn, "vocab", (json_int_t)info->vocab,
        "context", (json_int_t)info->context, "weight_bytes", (json_int_t)info->weight_bytes,
        "token_bytes", (json_int_t)info->token_bytes, "logits_bytes",
        (json_int_t)info->logits_bytes, "pages", info->pages, "has_tokenizer", info->has_tokenizer,
        "has_chat_template", info->has_chat_template, "chat_problem", info->chat_problem,
        "bos_token", token_json(info->bos_token), "eos_token", token_json(info->eos_token),
        "stop_tokens", stop_tokens);
}

static json_t *images_json(const rsr_model *model) {
    json_t *images = json_array();
    rsr_image_info image = RSR_IMAGE_INFO_INIT;
    for (uint32_t i = 0; rsr_model_get_image(model, i, &image) == RSR_OK; i++)
        json_array_append_new(images, json_pack("{s:s, s:s, s:I, s:I}", "target", image.target,
                                                "kind", image.kind, "sm", (json_int_t)image.sm,
                                                "bytes", (json_int_t)image.image_bytes));
    return images;
}

static json_t *kernels_json(const struct rsr_report *report) {
    json_t *kernels = json_array();
    for (size_t i = 0; i < report->n_kernels; i++) {
        const rsr_kernel_info *k = &report->kernels[i].info;
        json_array_append_new(
            kernels, json_pack("{s:s, s:s, s:s, s:s, s:o, s:I, s:I, s:I, s:I, s:b}", "name",
                               k->name, "role", k->role, "variant", k->variant, "reason", k->reason,
                               "block", token_json(k->block), "rows", (json_int_t)k->rows, "cols",
                               (json_int_t)k->cols, "weight_bytes", (json_int_t)k->weight_bytes,
                               "token_bytes", (json_int_t)usual_bytes(k), "decodes",
                               report->kernels[i].decodes));
    }
    return kernels;
}

/* Bytes that are read for one token, by role. */
static json_t *roles_json(const struct rsr_report *report) {
    json_t *roles = json_object();
    for (size_t i = 0; i < report->n_groups; i++) {
        const struct rsr_report_group *group = &report->groups[i];
        const json_int_t sum = json_integer_value(json_object_get(roles, group->first.role));
        json_object_set_new(roles, group->first.role,
                            json_integer(sum + (json_int_t)group->token_bytes));
    }
    json_object_set_new(roles, "others", json_integer((json_int_t)report->other_token_bytes));
    return roles;
}

/* What a token usually reads, by block, and of what is in no block. */
static json_t *usual_json(const struct rsr_report *report) {
    json_t *blocks = json_array();
    uint64_t sum = report->other_usual_bytes;
    for (size_t i = 0; i < report->n_groups; i++)
        sum += report->groups[i].usual_bytes;
    uint64_t others = sum;
    for (uint32_t b = 0; b < report->info->n_layers; b++) {
        json_array_append_new(blocks, json_integer((json_int_t)report->usual_bytes[b]));
        others -= report->usual_bytes[b];
    }
    return json_pack("{s:I, s:o, s:I}", "token_bytes", (json_int_t)sum, "blocks", blocks, "others",
                     (json_int_t)others);
}

json_t *rsr_report_json(const struct rsr_report *report) {
    json_t *root = info_json(report->info);
    if (!root)
        return NULL;
    char part[32];
    snprintf(part, sizeof(part), "%u/%u", report->info->shard, report->info->n_shards);
    json_object_set_new(root, "part", report->info->n_shards > 0 ? json_string(part) : json_null());
    json_object_set_new(root, "float_operations", json_string(report->info->float_operations));
    json_object_set_new(root, "kv_type",
                        report->kv_type != NULL ? json_string(report->kv_type) : json_null());
    json_object_set_new(root, "kv_bytes_token", json_integer((json_int_t)report->kv_bytes_token));
    json_object_set_new(root, "kv_page_tokens",
                        json_integer((json_int_t)report->info->kv_page_tokens));
    json_object_set_new(root, "arena_bytes", json_integer((json_int_t)report->arena_bytes));
    json_object_set_new(root, "state_bytes", json_integer((json_int_t)report->state_bytes));
    json_object_set_new(root, "sampling", rsr_report_sampling_json(report->info->sampling));
    json_object_set_new(root, "token_bytes_by_role", roles_json(report));
    json_object_set_new(root, "usual", usual_json(report));
    json_object_set_new(root, "kernels", kernels_json(report));
    json_object_set_new(root, "images", images_json(report->model));
    return root;
}
