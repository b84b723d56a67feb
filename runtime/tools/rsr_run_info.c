/* rsr_run_info.c - rsr-run --info: the model, the memory that a sequence takes, and the kernels: as
 * text by role and variant, as JSON one by one. compiler/README.md lists the keys of the JSON.
 */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rsr_run.h"

/* ---- What is told ---------------------------------------------------------------------------- */

/* A kernel, and whether decode runs it for every token. */
struct kernel {
    rsr_kernel_info info;
    bool decodes;
};

/* Kernels of one role, shape and variant: usually one a block. */
struct kernel_group {
    rsr_kernel_info first;
    uint32_t n;
    uint64_t weight_bytes;
    uint64_t token_bytes; /* of those that decode runs */
};

struct model_facts {
    const rsr_model_info *info;
    struct kernel *kernels;
    size_t n_kernels;
    struct kernel_group *groups;
    size_t n_groups;
    uint64_t other_token_bytes; /* the head, a row of the embedding, layers that are not ternary */
    const char *kv_type;        /* of an engine that is told nothing; NULL: it cannot be run */
    uint64_t kv_bytes_token;    /* then; 0: it cannot be run */
    uint64_t arena_bytes;       /* of an engine with one thread */
};

/* The kernels of decode come first, a layer once; then those of prefill that differ. */
static bool is_first_of_layer(const struct kernel *kernels, size_t i) {
    for (size_t j = 0; j < i; j++)
        if (kernels[j].info.block == kernels[i].info.block &&
            strcmp(kernels[j].info.role, kernels[i].info.role) == 0)
            return false;
    return true;
}

static void collect_kernels(const rsr_model *model, struct model_facts *facts) {
    rsr_kernel_info info = RSR_KERNEL_INFO_INIT;
    size_t n = 0;
    while (rsr_model_get_kernel(model, (uint32_t)n, &info) == RSR_OK)
        n++;
    facts->kernels = run_alloc(n, sizeof(*facts->kernels));
    facts->n_kernels = n;
    for (size_t i = 0; i < n; i++) {
        struct kernel *kernel = &facts->kernels[i];
        kernel->info = (rsr_kernel_info)RSR_KERNEL_INFO_INIT;
        if (rsr_model_get_kernel(model, (uint32_t)i, &kernel->info) != RSR_OK)
            exit(run_fail("a kernel does not describe itself"));
        kernel->decodes = is_first_of_layer(facts->kernels, i);
    }
}

static bool same_group(const rsr_kernel_info *a, const rsr_kernel_info *b) {
    return a->rows == b->rows && a->cols == b->cols && strcmp(a->role, b->role) == 0 &&
           strcmp(a->variant, b->variant) == 0;
}

static void group_kernels(struct model_facts *facts) {
    struct kernel_group *groups = run_alloc(facts->n_kernels, sizeof(*groups));
    facts->other_token_bytes = facts->info->token_bytes;
    for (size_t i = 0; i < facts->n_kernels; i++) {
        const struct kernel *kernel = &facts->kernels[i];
        size_t g = 0;
        while (g < facts->n_groups && !same_group(&groups[g].first, &kernel->info))
            g++;
        if (g == facts->n_groups)
            groups[facts->n_groups++].first = kernel->info;
        groups[g].n++;
        groups[g].weight_bytes += kernel->info.weight_bytes;
        if (kernel->decodes) {
            groups[g].token_bytes += kernel->info.weight_bytes;
            facts->other_token_bytes -= kernel->info.weight_bytes;
        }
    }
    facts->groups = groups;
}

/* By an engine for a few tokens: the full context may not fit this machine. */
static void measure_memory(rsr_model *model, struct model_facts *facts) {
    rsr_engine_options options = RSR_ENGINE_OPTIONS_INIT;
    options.n_threads = 1;
    options.context = facts->info->context < 2 ? 0 : 2;
    rsr_engine *engine = NULL;
    rsr_engine_info info = RSR_ENGINE_INFO_INIT;
    if (rsr_engine_create(model, &options, &engine, NULL) != RSR_OK)
        return;
    if (rsr_engine_get_info(engine, &info) == RSR_OK && info.kv_tokens != 0) {
        facts->kv_type = info.kv_type;
        facts->kv_bytes_token = info.kv_token_bytes;
        facts->arena_bytes = info.arena_bytes;
    }
    rsr_engine_destroy(engine);
}

/* ---- As text --------------------------------------------------------------------------------- */

static void print_row(const char *label, const char *value) {
    printf("%-16s ", label);
    run_put_name(value);
    putchar('\n');
}

static void print_number(const char *label, uint64_t value) {
    printf("%-16s %" PRIu64 "\n", label, value);
}

/* A name from the module, in a column. */
static void print_cell(const char *name, size_t width) {
    run_put_name(name);
    for (size_t n = strlen(name); n < width; n++)
        putchar(' ');
    putchar(' ');
}

static void print_kernels(const struct model_facts *facts) {
    printf("\n%-8s %5s  %-16s %-10s %12s %12s\n", "role", "count", "rows x columns", "variant",
           "bytes", "a token");
    for (size_t i = 0; i < facts->n_groups; i++) {
        const struct kernel_group *group = &facts->groups[i];
        const rsr_kernel_info *k = &group->first;
        char shape[32];
        snprintf(shape, sizeof(shape), "%" PRIu32 " x %" PRIu32, k->rows, k->cols);
        print_cell(k->role, 8);
        printf("%5" PRIu32 "  %-16s ", group->n, shape);
        print_cell(k->variant, 10);
        printf("%12" PRIu64 " %12" PRIu64 "\n", group->weight_bytes, group->token_bytes);
    }
    printf("%-8s %5s  %-16s %-10s %12s %12" PRIu64 "\n", "others", "", "", "", "",
           facts->other_token_bytes);
}

#define LINE_COLUMNS 80

/* Words with spaces between them, in lines from a column on, in which the first begins. */
static void print_wrapped(const char *text, size_t column) {
    for (size_t at = column, n; *text != '\0'; text += n) {
        text += strspn(text, " ");
        n = strcspn(text, " ");
        if (at > column && at + 1 + n > LINE_COLUMNS) {
            printf("\n%*s", (int)column, "");
            at = column;
        }
        struct run_text word = {0};
        run_text_append(&word, " ", at > column);
        run_text_append(&word, text, n);
        run_put_name(word.data);
        at += word.size;
        free(word.data);
    }
    putchar('\n');
}

/* Why the first of a group has its variant. */
static void print_reasons(const struct model_facts *facts) {
    puts("\nreason, of the first");
    for (size_t i = 0; i < facts->n_groups; i++) {
        print_cell(facts->groups[i].first.role, 8);
        print_wrapped(facts->groups[i].first.reason, 9);
    }
}

static void print_stop_tokens(const rsr_model_info *info) {
    printf("%-16s", "stop tokens");
    for (uint32_t i = 0; i < info->n_stop_tokens; i++)
        printf(" %" PRIu32, info->stop_tokens[i]);
    puts(info->n_stop_tokens == 0 ? " none" : "");
}

static void print_sampling(const rsr_sampling *sampling) {
    printf("%-16s ", "sampling");
    if (sampling)
        run_put_sampling(stdout, sampling);
    else
        fputs("the checkpoint does not say", stdout);
    putchar('\n');
}

static void print_text(const struct model_facts *facts) {
    const rsr_model_info *info = facts->info;
    print_row("model", info->name);
    print_row("architecture", info->architecture);
    print_row("compiled by", info->compiler_version);
    printf("%-16s ", "model hash");
    for (size_t i = 0; i < sizeof(info->model_hash); i++)
        printf("%02x", info->model_hash[i]);
    printf("\n%-16s", "targets");
    for (uint32_t i = 0; i < info->n_targets; i++) {
        putchar(' ');
        run_put_name(info->targets[i]);
        printf("%s", strcmp(info->targets[i], info->target) == 0 ? " (in use)" : "");
    }
    putchar('\n');
    const struct {
        const char *label;
        uint64_t value;
    } numbers[] = {{"hidden", info->hidden},
                   {"layers", info->n_layers},
                   {"heads", info->n_heads},
                   {"KV heads", info->n_kv_heads},
                   {"head size", info->head_dim},
                   {"FFN", info->ffn},
                   {"vocabulary", info->vocab},
                   {"context", info->context},
                   {"weight bytes", info->weight_bytes},
                   {"bytes a token", info->token_bytes},
                   {"more for logits", info->logits_bytes},
                   {"KV bytes a token", facts->kv_bytes_token},
                   {"KV page tokens", info->kv_page_tokens},
                   {"KV bytes in all", facts->kv_bytes_token * info->context},
                   {"arena bytes", facts->arena_bytes}};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        print_number(numbers[i].label, numbers[i].value);
    print_row("keys and values", facts->kv_type != NULL ? facts->kv_type : "none");
    printf("%-16s ", "pages");
    print_wrapped(info->pages, 17);
    print_row("float operations", info->float_operations);
    print_row("tokenizer", info->has_tokenizer ? "yes" : "no");
    print_row("chat template", info->has_chat_template ? "yes" : "no");
    if (info->chat_problem) {
        printf("%-16s ", "chat refused");
        print_wrapped(info->chat_problem, 17);
    }
    print_stop_tokens(info);
    if (!info->pooling)
        print_sampling(info->sampling);
}

/* ---- As JSON --------------------------------------------------------------------------------- */

static json_t *token_json(uint32_t token) {
    return token == UINT32_MAX ? json_null() : json_integer(token);
}

static json_t *info_json(const rsr_model_info *info) {
    char hash[2 * sizeof(info->model_hash) + 1];
    for (size_t i = 0; i < sizeof(info->model_hash); i++)
        snprintf(hash + 2 * i, 3, "%02x", info->model_hash[i]);
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

static json_t *kernels_json(const struct model_facts *facts) {
    json_t *kernels = json_array();
    for (size_t i = 0; i < facts->n_kernels; i++) {
        const rsr_kernel_info *k = &facts->kernels[i].info;
        json_array_append_new(
            kernels, json_pack("{s:s, s:s, s:s, s:s, s:o, s:I, s:I, s:I, s:b}", "name", k->name,
                               "role", k->role, "variant", k->variant, "reason", k->reason, "block",
                               token_json(k->block), "rows", (json_int_t)k->rows, "cols",
                               (json_int_t)k->cols, "weight_bytes", (json_int_t)k->weight_bytes,
                               "decodes", facts->kernels[i].decodes));
    }
    return kernels;
}

/* Bytes that a token reads. */
static json_t *roles_json(const struct model_facts *facts) {
    json_t *roles = json_object();
    for (size_t i = 0; i < facts->n_groups; i++) {
        const struct kernel_group *group = &facts->groups[i];
        const json_int_t sum = json_integer_value(json_object_get(roles, group->first.role));
        json_object_set_new(roles, group->first.role,
                            json_integer(sum + (json_int_t)group->token_bytes));
    }
    json_object_set_new(roles, "others", json_integer((json_int_t)facts->other_token_bytes));
    return roles;
}

static int print_json(const struct model_facts *facts) {
    json_t *root = info_json(facts->info);
    if (!root)
        return run_fail("the model's name is not UTF-8, which JSON cannot hold");
    json_object_set_new(root, "float_operations", json_string(facts->info->float_operations));
    json_object_set_new(root, "kv_type",
                        facts->kv_type != NULL ? json_string(facts->kv_type) : json_null());
    json_object_set_new(root, "kv_bytes_token", json_integer((json_int_t)facts->kv_bytes_token));
    json_object_set_new(root, "kv_page_tokens",
                        json_integer((json_int_t)facts->info->kv_page_tokens));
    json_object_set_new(root, "arena_bytes", json_integer((json_int_t)facts->arena_bytes));
    json_object_set_new(root, "sampling", run_sampling_json(facts->info->sampling));
    json_object_set_new(root, "token_bytes_by_role", roles_json(facts));
    json_object_set_new(root, "kernels", kernels_json(facts));
    return run_put_json(root, JSON_INDENT(1) | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(6));
}

int run_info(struct run_session *session) {
    struct model_facts facts = {.info = &session->info};
    collect_kernels(session->model, &facts);
    group_kernels(&facts);
    measure_memory(session->model, &facts);
    int code = 0;
    if (session->options->json) {
        code = print_json(&facts);
    } else {
        print_text(&facts);
        print_kernels(&facts);
        print_reasons(&facts);
    }
    free(facts.kernels);
    free(facts.groups);
    return code;
}
