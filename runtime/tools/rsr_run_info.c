/* rsr_run_info.c - rsr-run --info: the model, the memory of a sequence, and the kernels. The text
 * groups kernels by role and variant; JSON lists every kernel.
 */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model_report.h"
#include "rsr_hash.h"
#include "rsr_run.h"

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

static void print_kernels(const struct rsr_report *report) {
    printf("\n%-8s %5s  %-16s %-10s %11s %11s %11s\n", "role", "count", "rows x columns", "variant",
           "bytes", "a token", "usually");
    for (size_t i = 0; i < report->n_groups; i++) {
        const struct rsr_report_group *group = &report->groups[i];
        const rsr_kernel_info *k = &group->first;
        char shape[32];
        snprintf(shape, sizeof(shape), "%" PRIu32 " x %" PRIu32, k->rows, k->cols);
        print_cell(k->role, 8);
        printf("%5" PRIu32 "  %-16s ", group->n, shape);
        print_cell(k->variant, 10);
        printf("%11" PRIu64 " %11" PRIu64 " %11" PRIu64 "\n", group->weight_bytes,
               group->token_bytes, group->usual_bytes);
    }
    printf("%-8s %5s  %-16s %-10s %11s %11" PRIu64 " %11" PRIu64 "\n", "others", "", "", "", "",
           report->other_token_bytes, report->other_usual_bytes);
}

/* Blocks that follow each other and read equally much share a line. */
static void print_blocks(const struct rsr_report *report) {
    const uint32_t n = report->info->n_layers;
    printf("\n%-8s %12s\n", "blocks", "usually each");
    for (uint32_t first = 0, end; first < n; first = end) {
        char range[24];
        for (end = first + 1; end < n && report->usual_bytes[end] == report->usual_bytes[first];)
            end++;
        snprintf(range, sizeof(range), "%" PRIu32 "-%" PRIu32, first, end - 1);
        if (end == first + 1)
            range[strcspn(range, "-")] = '\0';
        printf("%-8s %12" PRIu64 "\n", range, report->usual_bytes[first]);
    }
}

#define LINE_COLUMNS 80

/* Prints words in lines that begin at `column`; the first line is already there. */
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

/* Prints why the first kernel of each group has its variant. */
static void print_reasons(const struct rsr_report *report) {
    puts("\nreason, of the first");
    for (size_t i = 0; i < report->n_groups; i++) {
        print_cell(report->groups[i].first.role, 8);
        print_wrapped(report->groups[i].first.reason, 9);
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

/* "sm_90 (cubin of 81920 bytes, PTX of 178118 bytes)" */
static void print_images(const rsr_model *model) {
    rsr_image_info image = RSR_IMAGE_INFO_INIT;
    char gpu[64] = "";
    for (uint32_t i = 0; rsr_model_get_image(model, i, &image) == RSR_OK; i++) {
        const bool is_first = strncmp(image.target, gpu, sizeof(gpu) - 1) != 0;
        if (is_first) {
            snprintf(gpu, sizeof(gpu), "%s", image.target);
            printf(i == 0 ? "%-16s " : "), ", "GPUs");
            run_put_name(image.target);
        }
        printf("%s%s of %" PRIu64 " bytes", is_first ? " (" : ", ", image.kind, image.image_bytes);
    }
    if (gpu[0] != '\0')
        puts(")");
}

static void print_text(const rsr_model *model, const struct rsr_report *report) {
    const rsr_model_info *info = report->info;
    char hash[RSR_HASH_TEXT_BYTES];
    print_row("model", info->name);
    print_row("architecture", info->architecture);
    print_row("compiled by", info->compiler_version);
    rsr_hash_text(info->model_hash, hash);
    print_row("model hash", hash);
    if (info->n_shards > 0)
        printf("%-16s %" PRIu32 "/%" PRIu32 ": the rows of this rank, for rsr-mpi\n", "part",
               info->shard, info->n_shards);
    printf("%-16s", "targets");
    for (uint32_t i = 0; i < info->n_targets; i++) {
        putchar(' ');
        run_put_name(info->targets[i]);
        printf("%s", strcmp(info->targets[i], info->target) == 0 ? " (in use)" : "");
    }
    putchar('\n');
    print_images(model);
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
                   {"KV bytes a token", report->kv_bytes_token},
                   {"KV page tokens", info->kv_page_tokens},
                   {"KV bytes in all", report->kv_bytes_token * info->context},
                   {"arena bytes", report->arena_bytes}};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        print_number(numbers[i].label, numbers[i].value);
    if (report->state_bytes != 0)
        print_number("state bytes", report->state_bytes);
    print_row("keys and values", report->kv_type != NULL ? report->kv_type : "none");
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

static int print_json(const struct rsr_report *report) {
    json_t *root = rsr_report_json(report);
    if (!root)
        return run_fail("the model's name is not UTF-8, which JSON cannot hold");
    return run_put_json(root, JSON_INDENT(1) | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(6));
}

int run_info(struct run_session *session) {
    struct rsr_report report;
    int code = 1;
    if (!rsr_report_create(session->model, &session->info, &report)) {
        run_fail("a kernel does not describe itself");
    } else if (session->options->json) {
        code = print_json(&report);
    } else {
        print_text(session->model, &report);
        print_kernels(&report);
        print_blocks(&report);
        print_reasons(&report);
        code = 0;
    }
    rsr_report_destroy(&report);
    return code;
}
