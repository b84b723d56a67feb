/* rsr_run_info.c - rsr-run --info: the model and its kernels; as text by role and variant, as JSON one by
 * one. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rsr_run.h"

/* Kernels of one role, shape and variant: usually one a block. */
struct kernel_group {
    rsr_kernel_info first;
    uint32_t n;
    uint64_t weight_bytes;
};

static bool same_group(const rsr_kernel_info *a, const rsr_kernel_info *b) {
    return a->rows == b->rows && a->cols == b->cols && strcmp(a->role, b->role) == 0 &&
           strcmp(a->variant, b->variant) == 0;
}

static struct kernel_group *collect_kernels(const rsr_model *model, size_t *n_groups) {
    struct kernel_group *groups = NULL;
    size_t n = 0;
    rsr_kernel_info kernel = RSR_KERNEL_INFO_INIT;
    for (uint32_t i = 0; rsr_model_get_kernel(model, i, &kernel) == RSR_OK; i++) {
        size_t g = 0;
        while (g < n && !same_group(&groups[g].first, &kernel))
            g++;
        if (g == n) {
            struct kernel_group *grown = run_alloc(n + 1, sizeof(*groups));
            if (n > 0)
                memcpy(grown, groups, n * sizeof(*groups));
            free(groups);
            groups = grown;
            groups[n++].first = kernel;
        }
        groups[g].n++;
        groups[g].weight_bytes += kernel.weight_bytes;
    }
    *n_groups = n;
    return groups;
}

static void print_row(const char *label, const char *value) {
    printf("%-16s ", label);
    run_put_name(value);
    putchar('\n');
}

static void print_number(const char *label, uint64_t value) {
    printf("%-16s %" PRIu64 "\n", label, value);
}

static void print_kernels(const rsr_model *model) {
    size_t n = 0;
    struct kernel_group *groups = collect_kernels(model, &n);
    printf("\n%-8s %5s  %-16s %-10s %12s  %s\n", "role", "count", "rows x columns", "variant",
           "bytes", "reason, of the first");
    for (size_t i = 0; i < n; i++) {
        const rsr_kernel_info *k = &groups[i].first;
        char shape[32];
        snprintf(shape, sizeof(shape), "%" PRIu32 " x %" PRIu32, k->rows, k->cols);
        printf("%-8s %5" PRIu32 "  %-16s %-10s %12" PRIu64 "  ", k->role, groups[i].n, shape,
               k->variant, groups[i].weight_bytes);
        run_put_name(k->reason);
        putchar('\n');
    }
    free(groups);
}

static void print_text(const rsr_model_info *info) {
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
                   {"bytes a token", info->token_bytes}};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        print_number(numbers[i].label, numbers[i].value);
    print_row("pages", info->pages);
    print_row("tokenizer", info->has_tokenizer ? "yes" : "no");
    print_row("chat template", info->has_chat_template ? "yes" : "no");
}

static json_t *info_json(const rsr_model_info *info) {
    char hash[2 * sizeof(info->model_hash) + 1];
    for (size_t i = 0; i < sizeof(info->model_hash); i++)
        snprintf(hash + 2 * i, 3, "%02x", info->model_hash[i]);
    json_t *root = json_pack(
        "{s:s?, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:b, "
        "s:b}",
        "name", info->name, "architecture", info->architecture, "compiler_version",
        info->compiler_version, "model_hash", hash, "target", info->target, "hidden",
        (json_int_t)info->hidden, "layers", (json_int_t)info->n_layers, "heads",
        (json_int_t)info->n_heads, "kv_heads", (json_int_t)info->n_kv_heads, "head_dim",
        (json_int_t)info->head_dim, "ffn", (json_int_t)info->ffn, "vocab", (json_int_t)info->vocab,
        "context", (json_int_t)info->context, "weight_bytes", (json_int_t)info->weight_bytes,
        "token_bytes", (json_int_t)info->token_bytes, "pages", info->pages, "has_tokenizer",
        info->has_tokenizer, "has_chat_template", info->has_chat_template);
    json_t *targets = json_array();
    for (uint32_t i = 0; i < info->n_targets; i++)
        json_array_append_new(targets, json_string(info->targets[i]));
    if (root)
        json_object_set_new(root, "targets", targets);
    return root;
}

static json_t *kernels_json(const rsr_model *model) {
    json_t *kernels = json_array();
    rsr_kernel_info k = RSR_KERNEL_INFO_INIT;
    for (uint32_t i = 0; rsr_model_get_kernel(model, i, &k) == RSR_OK; i++)
        json_array_append_new(kernels,
                              json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:I}", "name", k.name,
                                        "role", k.role, "variant", k.variant, "reason", k.reason,
                                        "rows", (json_int_t)k.rows, "cols", (json_int_t)k.cols,
                                        "weight_bytes", (json_int_t)k.weight_bytes));
    return kernels;
}

static int print_json(const struct run_session *session) {
    json_t *root = info_json(&session->info);
    if (!root)
        return run_fail("the model's name is not UTF-8, which JSON cannot hold");
    json_object_set_new(root, "kernels", kernels_json(session->model));
    int failed = json_dumpf(root, stdout, JSON_INDENT(1));
    json_decref(root);
    putchar('\n');
    return failed ? run_fail("cannot write JSON") : 0;
}

int run_info(struct run_session *session) {
    if (session->options->json)
        return print_json(session);
    print_text(&session->info);
    print_kernels(session->model);
    return 0;
}
