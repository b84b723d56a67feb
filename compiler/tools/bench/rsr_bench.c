/* rsr_bench.c - the program rsr-bench: command line of the measurements.
 *
 * Everything is measured in one run together with the machine's read bandwidth, so that results are
 * ratios, which noise affects less. Nothing here asserts a time.
 */
#include "base/large_stack.h"
#include "base/process.h"
#include "rsr_bench.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char HELP[] =
    "usage: rsr-bench kernel --rows R --cols C [options]\n"
    "       rsr-bench model MODEL.so [options]\n"
    "       rsr-bench activations MODEL.so [options]\n"
    "       rsr-bench attention --context N [options]\n"
    "       rsr-bench machine [options]\n"
    "       rsr-bench compare A.json B.json ... -o PAGE.html\n\n"
    "kernel: compiles a random matrix, checks it against the scalar reference, and measures it "
    "hot\n"
    "(one matrix again and again) and streamed (rotating over at least 1.5 GiB of copies).\n"
    "  --rows R, --cols C          size of the matrix\n"
    "  --type ternary|binary|bit   {-1,0,+1}, {-1,+1} or {0,1} [ternary]\n"
    "  --input i8|f32              activations: int8, or floats [i8]\n"
    "  --group-cols N              columns that share a scale of their row; 0: one scale [0]\n"
    "  --variant V                 dot, lut, table, fold or scatter [the planner's choice]\n"
    "  --repeat-rows F             share of rows that repeat another one [0]\n"
    "  --zero-rows F, --zero-cols F  shares of rows and columns that are zero [0]\n"
    "  --target X                  target description [native]\n"
    "  --backend c|llvm            compile with the C compiler of RSRC_CC, or with LLVM [llvm]\n"
    "  --batch B                   tokens at once: few use the kernel of decode, more use that\n"
    "                              of prefill [1]\n"
    "  --tokens N                  measure every number of tokens up to N, from the caches; fails\n"
    "                              if one token more takes less time (by more than 5 %, which is\n"
    "                              noise; for each number the least time of --runs counts)\n"
    "  --siblings N                every N kernels in turn read equal activations, as q, k and v\n"
    "                              do: the first one makes the tables for all, if it makes any "
    "[1]\n\n"
    "model: prefill and decode speed of a compiled model, and the time to the first token of a "
    "prompt\n"
    "(ttft_ms; cold_ttft_ms: from opening the module on).\n"
    "  --prompt-tokens P[,P...]    tokens of a prompt, after which decoding is measured; 0: as\n"
    "                              many as the model's context leaves [128]\n"
    "  --gen-tokens G              [64]\n"
    "  --attention KIND            dense, or louver[:THRESHOLD][,min=KEYS][,sinks=N][,window=N]\n"
    "                              [dense]\n"
    "  --kv-type TYPE              keys and values as f32, bf16, f16 or int8 [bf16]\n"
    "  --kv-dir DIR                keys and values in a file in DIR [in memory]\n"
    "  --state-type TYPE           recurrent states as f32 or bf16 [f32]\n"
    "  --device NAME               compute on cpu, or on cuda:N, the GPU of this number [cpu]\n"
    "  --batch B[,B...]            sequences decoded together; lists give one result for every\n"
    "                              pair of --prompt-tokens and --batch [1]\n"
    "  --shared-prefix             read one prompt, and decode its forks together; the JSON key\n"
    "                              shared_prefix is true\n"
    "  --profile                   for each operation of a decode step and of reading a prompt:\n"
    "                              time, waiting at barriers, bytes, and the least time that\n"
    "                              reading them takes\n\n"
    "activations: what --activations=int8 of rsrc would cost a model with float activations: for\n"
    "each ternary layer the error of its results, the root of their squares over that of the "
    "exact\n"
    "ones, if its input alone is rounded to int8; and that of the logits if all inputs are.\n"
    "  --text FILE                 tokens of a text [random ones, which is no text of a model]\n"
    "  --prompt-tokens P           the first P of them; 0: as many as the model's context has "
    "[128]\n\n"
    "attention: one layer over a long context, dense and through the KV index, rotating over at "
    "least\n"
    "1.5 GiB of distinct keys and values. Keys left out and outputs are checked in float64.\n"
    "dense_share is the part of the same run's read bandwidth (dram_gbps) that dense reaches.\n"
    "  --context N                 keys\n"
    "  --head-dim D                1 to 320 [128]\n"
    "  --heads H, --kv-heads G     number of query heads, of KV heads [32, 8]\n"
    "  --data gaussian|clustered   keys from N(0, 1), or with a spread of 0.35 around 64 centres\n"
    "                              from N(0, 1), in runs of 256 keys. Queries and values are from\n"
    "                              N(0, 1) [gaussian]\n"
    "  --data sigma:S[,rope][,outliers=N][,topics=N][,needles=N]   keys and queries whose logits "
    "have a\n"
    "                              spread of S over the keys. rope: rotated by positions;\n"
    "                              outliers: N channels of large keys; topics: runs of 256 keys\n"
    "                              about one of N topics, and queries about one, too; needles: N\n"
    "                              keys that every query asks for, each of which weighs as much "
    "in\n"
    "                              its softmax as all others together; needles_found is the part\n"
    "                              that is attended to\n"
    "  --data trace:FILE           a file of rsr-run --dump-qkv: all layers; the first N tokens\n"
    "                              give the keys, the last of them and later tokens the queries\n"
    "                              [N: as large as leaves enough queries]\n"
    "  --threshold T               as in rsr_louver.h, for example topk:20,sinks=4 [mass:1e-3]. "
    "With\n"
    "                              topk, the K-th product is found before the measurement;\n"
    "                              search_us is the time if the index finds it itself. With mass,\n"
    "                              all_keys_us is the time of the runtime's attention to all keys\n"
    "  --index KIND                cascade: the KV index; one-plane: the index without its second\n"
    "                              plane [cascade]. Others, to compare: pages: only its bounds "
    "for\n"
    "                              pages of 64 keys; centroids: for 4 keys in slices of 32\n"
    "                              dimensions, with certified radii; centroids-unsafe: as\n"
    "                              published, without radii, so that it misses keys. The others\n"
    "                              need value:T or topk:K, and their append_us is the time of\n"
    "                              building them. With f32 keys, seal_us is the time to seal a\n"
    "                              full page of 64 keys of one KV head, and copy_us the time to\n"
    "                              copy the page\n"
    "  --kv-type TYPE              keys and values as f32, bf16, f16 or int8; the reference uses "
    "the\n"
    "                              stored numbers [f32]\n\n"
    "machine: measures read bandwidths by size and rates of instructions, and prints a target\n"
    "description for --target; takes some seconds.\n"
    "  --target X                  the target whose instructions are measured [native]\n\n"
    "compare: makes a page that compares files of rsr-bench --json and rsrc --report=json: "
    "kernels,\n"
    "models, attention, and the best k and kernels of models; ratios are to the first file.\n"
    "  -o FILE                     the page\n\n"
    "all but compare:\n"
    "  --threads T                 [all CPUs for model and activations; 1 and all for machine;\n"
    "                              else 1]\n"
    "  --runs N                    number of measurements; the median is shown [7]\n"
    "  --seed N                    [1]\n"
    "  --quick                     use only 64 MiB, or one layer of attention, even if the caches\n"
    "                              hold that: such figures are not to be published\n"
    "  --json                      one JSON object on stdout\n"
    "  (activations takes no --runs and no --quick)\n"
    "  --help, --version           print this text, or the version\n";

enum kind { TEXT, NUMBER, NUMBERS, PART, SEED, FLAG };

/* Bits of the commands that take an option. */
enum {
    KERNEL = 1,
    MODEL = 2,
    ATTENTION = 4,
    MACHINE = 8,
    TIMED = 15,
    COMPARE = 16,
    ACTIVATIONS = 32,
    THREADED = TIMED | ACTIVATIONS
};

struct bench_option {
    const char *name;
    unsigned commands;
    enum kind kind;
    size_t offset;
    uint32_t min, max;
};

#define FIELD(name) offsetof(struct bench_options, name)
static const struct bench_option OPTIONS[] = {
    {"--rows", KERNEL, NUMBER, FIELD(rows), 1, 1u << 20},
    {"--cols", KERNEL, NUMBER, FIELD(cols), 1, 1u << 20},
    {"--type", KERNEL, TEXT, FIELD(type), 0, 0},
    {"--input", KERNEL, TEXT, FIELD(input), 0, 0},
    {"--group-cols", KERNEL, NUMBER, FIELD(group_cols), 0, 1u << 20},
    {"--variant", KERNEL, TEXT, FIELD(variant), 0, 0},
    {"--target", KERNEL | MACHINE, TEXT, FIELD(target), 0, 0},
    {"--backend", KERNEL, TEXT, FIELD(backend), 0, 0},
    {"--batch", KERNEL, NUMBER, FIELD(batch), 1, 4096},
    {"--batch", MODEL, NUMBERS, FIELD(batches), 1, 4096},
    {"--tokens", KERNEL, NUMBER, FIELD(tokens), 1, 4096},
    {"--siblings", KERNEL, NUMBER, FIELD(siblings), 1, 64},
    {"--repeat-rows", KERNEL, PART, FIELD(repeat_rows), 0, 0},
    {"--zero-rows", KERNEL, PART, FIELD(zero_rows), 0, 0},
    {"--zero-cols", KERNEL, PART, FIELD(zero_cols), 0, 0},
    {"--threads", THREADED, NUMBER, FIELD(threads), 1, 1024},
    {"--prompt-tokens", MODEL | ACTIVATIONS, NUMBERS, FIELD(prompts), 0, 1u << 20},
    {"--text", ACTIVATIONS, TEXT, FIELD(text), 0, 0},
    {"--gen-tokens", MODEL, NUMBER, FIELD(gen_tokens), 1, 1u << 20},
    {"--attention", MODEL, TEXT, FIELD(attention), 0, 0},
    {"--kv-type", MODEL | ATTENTION, TEXT, FIELD(kv_type), 0, 0},
    {"--kv-dir", MODEL, TEXT, FIELD(kv_dir), 0, 0},
    {"--state-type", MODEL, TEXT, FIELD(state_type), 0, 0},
    {"--device", MODEL, TEXT, FIELD(device), 0, 0},
    {"--context", ATTENTION, NUMBER, FIELD(context), 1, 1u << 24},
    {"--head-dim", ATTENTION, NUMBER, FIELD(head_dim), 1, 320},
    {"--heads", ATTENTION, NUMBER, FIELD(heads), 1, 4096},
    {"--kv-heads", ATTENTION, NUMBER, FIELD(kv_heads), 1, 4096},
    {"--data", ATTENTION, TEXT, FIELD(data), 0, 0},
    {"--threshold", ATTENTION, TEXT, FIELD(threshold), 0, 0},
    {"--index", ATTENTION, TEXT, FIELD(index), 0, 0},
    {"--quick", TIMED, FLAG, FIELD(quick), 0, 0},
    {"--runs", TIMED, NUMBER, FIELD(runs), 1, 1000},
    {"--seed", THREADED, SEED, FIELD(seed), 0, 0},
    {"--shared-prefix", MODEL, FLAG, FIELD(shared_prefix), 0, 0},
    {"--profile", MODEL, FLAG, FIELD(profile), 0, 0},
    {"--json", THREADED, FLAG, FIELD(json), 0, 0},
    {"-o", COMPARE, TEXT, FIELD(output), 0, 0},
};
#define N_OPTIONS (sizeof(OPTIONS) / sizeof(OPTIONS[0]))

/* ---- Commands ---- */

static bool has_matrix(const struct bench_options *options) {
    return options->rows != 0 && options->cols != 0;
}

static bool has_model(const struct bench_options *options) {
    return options->n_files == 1;
}

static bool has_context(const struct bench_options *options) {
    return options->context != 0 || bench_is_traced(options); /* a trace has its own */
}

static bool has_comparison(const struct bench_options *options) {
    return options->n_files >= 1 && options->output != NULL;
}

static bool needs_nothing(const struct bench_options *options) {
    (void)options;
    return true;
}

/* Files that are compared at once. */
#define MAX_FILES 64u

static const struct bench_command {
    const char *name;
    unsigned bit;
    uint32_t max_files;
    bool (*is_complete)(const struct bench_options *options);
    const char *needs; /* reported if it is incomplete */
    int (*run)(const struct bench_options *options);
} COMMANDS[] = {
    {"kernel", KERNEL, 0, has_matrix, "needs --rows and --cols:", bench_kernel},
    {"model", MODEL, 1, has_model, "needs a MODEL.so:", bench_model},
    {"activations", ACTIVATIONS, 1, has_model, "needs a MODEL.so:", bench_activations},
    {"attention", ATTENTION, 0, has_context, "needs --context:", bench_attention},
    {"machine", MACHINE, 0, needs_nothing, "", bench_machine},
    {"compare", COMPARE, MAX_FILES, has_comparison, "needs files and -o FILE:", bench_compare},
};

static const struct bench_command *command_of(const char *name) {
    for (size_t i = 0; i < sizeof(COMMANDS) / sizeof(COMMANDS[0]); i++)
        if (strcmp(COMMANDS[i].name, name) == 0)
            return &COMMANDS[i];
    return NULL;
}

/* ---- Options ---- */

static int fail(const char *what, const char *word, const char *more) {
    fprintf(stderr, "rsr-bench: %s '%s'%s\n", what, word, more);
    return 1;
}

static int refuse(const struct bench_option *option, const char *value, uint64_t min,
                  uint64_t max) {
    fprintf(stderr, "rsr-bench: %s takes a %s from %" PRIu64 " to %" PRIu64 ", not '%s'\n",
            option->name, option->kind == PART ? "part" : "number", min, max, value);
    return 1;
}

/* Parses a number and moves *text after it. */
static bool parse_number(const char **text, uint64_t min, uint64_t max, uint64_t *n) {
    char *end = NULL;
    errno = 0;
    *n = strtoull(*text, &end, 10);
    if (**text < '0' || **text > '9' || errno != 0 || *n < min || *n > max)
        return false;
    *text = end;
    return true;
}

/* N,N,... */
static int set_list(const struct bench_option *option, const char *value, struct bench_list *out) {
    const char *at = value;
    uint64_t n;
    for (out->n = 0; out->n < BENCH_LIST_MAX && parse_number(&at, option->min, option->max, &n);) {
        out->values[out->n++] = (uint32_t)n;
        if (*at == '\0')
            return 0;
        if (*at++ != ',')
            break;
    }
    fprintf(stderr,
            "rsr-bench: %s takes up to %u numbers from %u to %u with commas between them, not "
            "'%s'\n",
            option->name, BENCH_LIST_MAX, option->min, option->max, value);
    return 1;
}

static int set_option(const struct bench_option *option, const char *value,
                      struct bench_options *out) {
    char *field = (char *)out + option->offset;
    if (option->kind == TEXT) {
        memcpy(field, &value, sizeof(value));
        return 0;
    }
    if (option->kind == NUMBERS)
        return set_list(option, value, (struct bench_list *)(void *)field);
    if (option->kind == PART) {
        char *end = NULL;
        const double part = strtod(value, &end);
        if (end == value || *end != '\0' || !(part >= 0 && part <= 1))
            return refuse(option, value, 0, 1);
        memcpy(field, &part, sizeof(part));
        return 0;
    }
    const uint64_t max = option->kind == SEED ? UINT64_MAX : option->max;
    const char *at = value;
    uint64_t n;
    if (!parse_number(&at, option->min, max, &n) || *at != '\0')
        return refuse(option, value, option->min, max);
    if (option->kind == SEED)
        memcpy(field, &n, sizeof(n));
    else
        memcpy(field, &(uint32_t){(uint32_t)n}, sizeof(uint32_t));
    return 0;
}

static int parse_option(const struct bench_command *command, int argc, char **argv, int *at,
                        struct bench_options *out) {
    const char *arg = argv[*at];
    const size_t n = strcspn(arg, "=");
    const char *elsewhere = NULL; /* the option, where other commands take it */
    for (size_t i = 0; i < N_OPTIONS; i++) {
        const struct bench_option *option = &OPTIONS[i];
        if (strlen(option->name) != n || strncmp(option->name, arg, n) != 0)
            continue;
        if ((option->commands & command->bit) == 0) {
            elsewhere = option->name;
            continue;
        }
        if (option->kind == FLAG) {
            *(bool *)((char *)out + option->offset) = true;
            return arg[n] == '=' ? fail("takes no value:", arg, "") : 0;
        }
        if (arg[n] == '=')
            return set_option(option, arg + n + 1, out);
        if (*at + 1 >= argc)
            return fail("needs a value:", arg, "");
        return set_option(option, argv[++*at], out);
    }
    if (elsewhere != NULL) {
        fprintf(stderr, "rsr-bench: %s has no meaning for %s\n", elsewhere, command->name);
        return 1;
    }
    const char *names[N_OPTIONS];
    for (size_t i = 0; i < N_OPTIONS; i++)
        names[i] = OPTIONS[i].name;
    const char *close = rsrc_did_you_mean(arg, names, N_OPTIONS);
    fprintf(stderr, "rsr-bench: unknown option '%s'%s%s%s\n", arg, close ? "; did you mean '" : "",
            close ? close : "", close ? "'?" : "");
    return 1;
}

#define COMMANDS "kernel, model, activations, attention, machine and compare"

/* Flushes stdout: results may go to a file, such as a target description. */
static int finish_output(int code) {
    if ((fflush(stdout) == 0 && !ferror(stdout)) || code != 0)
        return code;
    fprintf(stderr, "rsr-bench: cannot write to standard output: %s\n", strerror(errno));
    return 1;
}

struct call {
    const struct bench_command *command;
    const struct bench_options *options;
    int code;
};

static void *run_call(void *argument) {
    struct call *call = argument;
    call->code = call->command->run(call->options);
    return NULL;
}

int main(int argc, char **argv) {
    if (argc >= 2 && strcmp(argv[1], "--version") == 0) {
        printf("rsr-bench %s\n", RSRC_VERSION);
        return finish_output(0);
    }
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            fputs(HELP, stdout);
            return finish_output(0);
        }
    }
    if (argc < 2) {
        fputs(HELP, stderr);
        fputs("\nrsr-bench: no command given; there are " COMMANDS "\n", stderr);
        return 1;
    }
    struct bench_options options = {.type = "ternary",
                                    .input = "i8",
                                    .target = "native",
                                    .backend = "llvm",
                                    .batch = 1,
                                    .siblings = 1,
                                    .prompts = {1, {128}},
                                    .batches = {1, {1}},
                                    .gen_tokens = 64,
                                    .head_dim = 128,
                                    .heads = 32,
                                    .kv_heads = 8,
                                    .data = "gaussian",
                                    .threshold = "mass:1e-3",
                                    .index = "cascade",
                                    .runs = 7,
                                    .seed = 1};
    const struct bench_command *command = command_of(argv[1]);
    if (command == NULL)
        return fail("unknown command", argv[1], "; there are " COMMANDS);
    const char *files[MAX_FILES];
    options.files = files;
    for (int i = 2; i < argc; i++) {
        if (argv[i][0] == '-') {
            if (parse_option(command, argc, argv, &i, &options) != 0)
                return 1;
        } else if (options.n_files == command->max_files) {
            return fail("unexpected argument", argv[i], "");
        } else {
            files[options.n_files++] = argv[i];
        }
    }
    if (!command->is_complete(&options))
        return fail(command->needs, command->name, "");
    rsrc_set_program("rsr-bench");
    rsrc_watch_signals();
    struct call call = {command, &options, 1};
    rsrc_run_on_large_stack(run_call, &call);
    return finish_output(call.code);
}
