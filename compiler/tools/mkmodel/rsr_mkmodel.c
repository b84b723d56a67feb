/* rsr_mkmodel.c - writes synthetic checkpoints: options, checks, order of work.
 *
 * Output: a folder in Hugging Face form, with config.json, weights and tokenizer, a GGUF file, or
 * with --matrix a lone safetensors file. A file appears under its name only when complete;
 * config.json comes last.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/process.h"
#include "base/suffix.h"
#include "rsr_mkmodel.h"

#define MAX_MATRICES 64u

/* Files above this size are split, as transformers does by default. */
#define DEFAULT_SHARD_BYTES UINT64_C(5000000000)

static const char usage[] =
    "usage: rsr-mkmodel --preset NAME -o DIR [options]\n"
    "       rsr-mkmodel --preset NAME -o FILE.gguf [options]\n"
    "       rsr-mkmodel --matrix ROWSxCOLS:KIND ... -o FILE.safetensors [options]\n"
    "\n"
    "Writes a checkpoint with random weights in Hugging Face form, or as one GGUF file. The same\n"
    "options give the same bytes on every machine.\n"
    "\n"
    "  --preset NAME          shape and convention of a published model (--list-presets)\n"
    "  -o PATH                folder to write, created if need be; with --matrix, a file; a\n"
    "                         name that ends in .gguf is that of a GGUF file\n"
    "  --gguf-type TYPE       of its linear layers: PQ2_0, PTQ1_0 or Q2_0 (PQ2_0)\n"
    "  --seed N               of all random data (1)\n"
    "  --convention NAME      names and encodings of tensors (--list-presets)\n"
    "  --layers N --hidden N --ffn N --heads N --kv-heads N --head-dim N\n"
    "  --vocab N --context N  replace sizes of the preset\n"
    "  --tied, --untied       head is the embedding, or a tensor of its own\n"
    "  --zero-density F       share of weights that are zero, 0 to 0.99 (0.4)\n"
    "  --repeat-rows F        share of a matrix's rows that repeat an earlier one up to sign (0)\n"
    "  --zero-rows F, --zero-cols F\n"
    "                         shares of rows and columns that are zero (0)\n"
    "  --dead-channels F      share of the channels whose gate or up row is zero (0)\n"
    "  --zero-norm F          share of norm weights that are zero (0)\n"
    "  --head-margin S        make the largest logit S standard deviations larger than the mean\n"
    "                         logit, within a tenth, or as large as random ones are, if that is\n"
    "                         more: the embedding has a common direction that blocks hardly\n"
    "                         change, and the head's rows of 8 tokens point along it\n"
    "  --relu2-sparsity F     share of channels that squared ReLU makes 0, up to 0.99 (by chance)\n"
    "  --coactivation F       share of a gate row's weights that its group of 16 shares (0)\n"
    "  --shard-bytes N        largest file of weights (5000000000)\n"
    "  --break KIND           make the checkpoint wrong in one way (--list-breaks)\n"
    "  --matrix ROWSxCOLS:KIND\n"
    "                         a bare matrix of int8; KIND is ternary (-1 0 1), sign (-1 1) or\n"
    "                         bit (0 1); may be repeated\n"
    "  --list-presets         presets and conventions\n"
    "  --list-breaks          each kind and the diagnostic it must get\n"
    "  --help                 print this text; so does -h\n"
    "\n"
    "The tokenizer is always a synthetic byte-level BPE of at most 2048 tokens.\n";

enum option_kind {
    OPTION_HELP,
    OPTION_LIST_PRESETS,
    OPTION_LIST_BREAKS,
    OPTION_TIED,
    OPTION_UNTIED,
    OPTION_PRESET,
    OPTION_OUTPUT,
    OPTION_CONVENTION,
    OPTION_BREAK,
    OPTION_MATRIX,
    OPTION_ZERO_DENSITY,
    OPTION_REPEAT_ROWS,
    OPTION_ZERO_ROWS,
    OPTION_ZERO_COLS,
    OPTION_DEAD_CHANNELS,
    OPTION_ZERO_NORM,
    OPTION_HEAD_MARGIN,
    OPTION_RELU2_SPARSITY,
    OPTION_COACTIVATION,
    OPTION_GGUF_TYPE,
    OPTION_SEED,
    OPTION_SHARD_BYTES,
    OPTION_LAYERS, /* from here on: counts, with their limits in `options` */
    OPTION_HIDDEN,
    OPTION_FFN,
    OPTION_HEADS,
    OPTION_KV_HEADS,
    OPTION_HEAD_DIM,
    OPTION_VOCAB,
    OPTION_CONTEXT,
    OPTION_COUNT
};

static const struct {
    const char *name;
    bool has_value;
    bool is_of_models; /* has no meaning with --matrix */
    uint32_t min, max; /* of counts */
} options[OPTION_COUNT] = {
    [OPTION_HELP] = {"--help", false, false, 0, 0},
    [OPTION_LIST_PRESETS] = {"--list-presets", false, false, 0, 0},
    [OPTION_LIST_BREAKS] = {"--list-breaks", false, false, 0, 0},
    [OPTION_TIED] = {"--tied", false, true, 0, 0},
    [OPTION_UNTIED] = {"--untied", false, true, 0, 0},
    [OPTION_PRESET] = {"--preset", true, false, 0, 0},
    [OPTION_OUTPUT] = {"-o", true, false, 0, 0},
    [OPTION_CONVENTION] = {"--convention", true, true, 0, 0},
    [OPTION_BREAK] = {"--break", true, true, 0, 0},
    [OPTION_MATRIX] = {"--matrix", true, false, 0, 0},
    [OPTION_ZERO_DENSITY] = {"--zero-density", true, false, 0, 0},
    [OPTION_REPEAT_ROWS] = {"--repeat-rows", true, false, 0, 0},
    [OPTION_ZERO_ROWS] = {"--zero-rows", true, false, 0, 0},
    [OPTION_ZERO_COLS] = {"--zero-cols", true, false, 0, 0},
    [OPTION_DEAD_CHANNELS] = {"--dead-channels", true, true, 0, 0},
    [OPTION_ZERO_NORM] = {"--zero-norm", true, true, 0, 0},
    [OPTION_HEAD_MARGIN] = {"--head-margin", true, true, 0, 0},
    [OPTION_RELU2_SPARSITY] = {"--relu2-sparsity", true, true, 0, 0},
    [OPTION_COACTIVATION] = {"--coactivation", true, true, 0, 0},
    [OPTION_GGUF_TYPE] = {"--gguf-type", true, true, 0, 0},
    [OPTION_SEED] = {"--seed", true, false, 0, 0},
    [OPTION_SHARD_BYTES] = {"--shard-bytes", true, true, 0, 0},
    [OPTION_LAYERS] = {"--layers", true, true, 1, 1024},
    [OPTION_HIDDEN] = {"--hidden", true, true, 4, 65536},
    [OPTION_FFN] = {"--ffn", true, true, 4, 262144},
    [OPTION_HEADS] = {"--heads", true, true, 1, 1024},
    [OPTION_KV_HEADS] = {"--kv-heads", true, true, 1, 1024},
    [OPTION_HEAD_DIM] = {"--head-dim", true, true, 2, 1024},
    [OPTION_VOCAB] = {"--vocab", true, true, MKMODEL_MIN_VOCAB, 1u << 22},
    [OPTION_CONTEXT] = {"--context", true, true, 1, 1u << 24},
};

/* The command line. Counts that were not given are 0. */
struct request {
    struct rsrc_diag *diag;
    bool help, list_presets, list_breaks;
    bool tied, untied;
    const char *preset, *output, *convention, *fault, *gguf_type;
    double zero_density, head_margin;
    struct mkmodel_redundancy redundancy;
    struct mkmodel_sparsity sparsity;
    uint64_t seed, shard_bytes;
    uint32_t counts[OPTION_COUNT];
    const char *model_option; /* the last one of those, or NULL */
    struct {
        uint64_t rows, cols;
        enum mkmodel_fill fill;
    } matrices[MAX_MATRICES];
    uint32_t n_matrices;
};

/* ---- command line ---------------------------------------------------------------------------- */

static enum rsrc_status bad_value(const struct request *request, enum option_kind kind,
                                  const char *value, const char *expected) {
    return rsrc_refuse(request->diag, "option-value", NULL, expected, "%s cannot be '%s'",
                       options[kind].name, value);
}

/* Decimal digits and nothing else. */
static bool parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *out) {
    char *end;

    if (*text < '0' || *text > '9')
        return false;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno != 0 || *end != '\0' || value < min || value > max)
        return false;
    *out = value;
    return true;
}

static enum rsrc_status parse_matrix(struct request *request, const char *value) {
    static const struct {
        const char *name;
        enum mkmodel_fill fill;
    } kinds[] = {
        {"ternary", MKMODEL_FILL_TERNARY}, {"sign", MKMODEL_FILL_SIGN}, {"bit", MKMODEL_FILL_BIT}};
    unsigned rows, cols;
    char kind[16];
    int n_read = 0;

    if (request->n_matrices == MAX_MATRICES)
        return bad_value(request, OPTION_MATRIX, value, "at most 64 matrices in a file");
    if (sscanf(value, "%9ux%9u:%15[a-z]%n", &rows, &cols, kind, &n_read) == 3 &&
        value[n_read] == '\0' && rows > 0 && cols > 0 && rows < 1u << 24 && cols < 1u << 24) {
        for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
            if (strcmp(kinds[i].name, kind) != 0)
                continue;
            request->matrices[request->n_matrices].rows = rows;
            request->matrices[request->n_matrices].cols = cols;
            request->matrices[request->n_matrices++].fill = kinds[i].fill;
            return RSRC_OK;
        }
    }
    return bad_value(request, OPTION_MATRIX, value,
                     "ROWSxCOLS:KIND with kind ternary, sign or bit, like 640x2560:ternary");
}

static enum rsrc_status parse_share(const struct request *request, enum option_kind kind,
                                    const char *value, double *out) {
    char *end;
    double share = strtod(value, &end);

    if (end == value || *end != '\0' || !(share >= 0.0 && share <= 0.99))
        return bad_value(request, kind, value, "a number from 0 to 0.99");
    *out = share;
    return RSRC_OK;
}

static enum rsrc_status parse_margin(struct request *request, const char *value) {
    char *end;
    double margin = strtod(value, &end);

    if (end == value || *end != '\0' || !(margin >= 1.0 && margin <= 100.0))
        return bad_value(request, OPTION_HEAD_MARGIN, value, "a number from 1 to 100");
    request->head_margin = margin;
    return RSRC_OK;
}

static enum rsrc_status take_option(struct request *request, enum option_kind kind,
                                    const char *value) {
    uint64_t number;

    switch (kind) {
    case OPTION_HELP:
        request->help = true;
        return RSRC_OK;
    case OPTION_LIST_PRESETS:
        request->list_presets = true;
        return RSRC_OK;
    case OPTION_LIST_BREAKS:
        request->list_breaks = true;
        return RSRC_OK;
    case OPTION_TIED:
        request->tied = true;
        return RSRC_OK;
    case OPTION_UNTIED:
        request->untied = true;
        return RSRC_OK;
    case OPTION_PRESET:
        request->preset = value;
        return RSRC_OK;
    case OPTION_OUTPUT:
        if (value[0] == '\0')
            return bad_value(request, kind, value, "a folder's name, or with --matrix a file's");
        request->output = value;
        return RSRC_OK;
    case OPTION_CONVENTION:
        request->convention = value;
        return RSRC_OK;
    case OPTION_BREAK:
        request->fault = value;
        return RSRC_OK;
    case OPTION_MATRIX:
        return parse_matrix(request, value);
    case OPTION_ZERO_DENSITY:
        return parse_share(request, kind, value, &request->zero_density);
    case OPTION_REPEAT_ROWS:
        return parse_share(request, kind, value, &request->redundancy.repeated_rows);
    case OPTION_ZERO_ROWS:
        return parse_share(request, kind, value, &request->redundancy.zero_rows);
    case OPTION_ZERO_COLS:
        return parse_share(request, kind, value, &request->redundancy.zero_cols);
    case OPTION_DEAD_CHANNELS:
        return parse_share(request, kind, value, &request->redundancy.dead_channels);
    case OPTION_ZERO_NORM:
        return parse_share(request, kind, value, &request->redundancy.zero_norm);
    case OPTION_HEAD_MARGIN:
        return parse_margin(request, value);
    case OPTION_RELU2_SPARSITY:
        return parse_share(request, kind, value, &request->sparsity.inactive);
    case OPTION_COACTIVATION:
        return parse_share(request, kind, value, &request->sparsity.coactivation);
    case OPTION_GGUF_TYPE:
        if (!mkmodel_find_gguf_type(value))
            return bad_value(request, kind, value, "PQ2_0, PTQ1_0 or Q2_0");
        request->gguf_type = value;
        return RSRC_OK;
    case OPTION_SEED:
        return parse_number(value, 0, UINT64_MAX, &request->seed)
                   ? RSRC_OK
                   : bad_value(request, kind, value, "a whole number");
    case OPTION_SHARD_BYTES:
        return parse_number(value, 1, UINT64_MAX, &request->shard_bytes)
                   ? RSRC_OK
                   : bad_value(request, kind, value, "a number of bytes above zero");
    case OPTION_LAYERS:
    case OPTION_HIDDEN:
    case OPTION_FFN:
    case OPTION_HEADS:
    case OPTION_KV_HEADS:
    case OPTION_HEAD_DIM:
    case OPTION_VOCAB:
    case OPTION_CONTEXT:
    case OPTION_COUNT:
        break;
    }
    if (parse_number(value, options[kind].min, options[kind].max, &number)) {
        request->counts[kind] = (uint32_t)number;
        return RSRC_OK;
    }
    char expected[64];
    snprintf(expected, sizeof expected, "a number from %u to %u", options[kind].min,
             options[kind].max);
    return bad_value(request, kind, value, expected);
}

static enum rsrc_status unknown_option(const struct request *request, const char *argument) {
    const char *names[OPTION_COUNT];

    for (uint32_t i = 0; i < OPTION_COUNT; i++)
        names[i] = options[i].name;
    const char *near = rsrc_did_you_mean(argument, names, OPTION_COUNT);
    return rsrc_refuse(request->diag, "option-unknown", NULL, "--help lists the options",
                       "unknown option '%s'%s%s%s", argument, near ? "; did you mean " : "",
                       near ? near : "", near ? "?" : "");
}

/* Accepts --name value and --name=value. */
static enum rsrc_status parse_command_line(struct request *request, int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        const char *equals = strchr(argv[i], '=');
        size_t n = strcspn(argv[i], "=");
        uint32_t kind = OPTION_HELP;

        if (argv[i][0] != '-')
            return rsrc_refuse(request->diag, "option-unknown", NULL, "-o names what is written",
                               "unexpected argument '%s'", argv[i]);
        while (strcmp(argv[i], "-h") != 0 && kind < OPTION_COUNT &&
               (strlen(options[kind].name) != n || strncmp(options[kind].name, argv[i], n) != 0))
            kind++;
        if (kind == OPTION_COUNT)
            return unknown_option(request, argv[i]);
        const char *value = equals ? equals + 1 : NULL;
        if (options[kind].has_value && !value)
            value = i + 1 < argc ? argv[++i] : NULL;
        if (options[kind].has_value != (value != NULL))
            return rsrc_refuse(request->diag, "option-value", NULL, "--help lists the options",
                               "%s %s", options[kind].name,
                               value ? "takes no value" : "needs a value");
        if (options[kind].is_of_models)
            request->model_option = options[kind].name;
        if (take_option(request, kind, value) != RSRC_OK)
            return RSRC_FAILED;
    }
    return RSRC_OK;
}

static void list_presets(void) {
    const struct mkmodel_preset *preset;
    const struct mkmodel_convention *convention;

    puts("presets:");
    for (uint32_t i = 0; (preset = mkmodel_preset(i)) != NULL; i++)
        printf("  %-14s %u layers, hidden %u, ffn %u, heads %u:%u of %u, vocab %u, %s, %s\n"
               "  %-14s %s\n",
               preset->name, preset->layers, preset->hidden, preset->ffn, preset->heads,
               preset->kv_heads, preset->head_dim, preset->vocab, preset->tied ? "tied" : "untied",
               preset->convention, "", preset->help);
    puts("conventions:");
    for (uint32_t i = 0; (convention = mkmodel_convention(i)) != NULL; i++)
        printf("  %-14s %s\n", convention->name, convention->help);
}

static void list_breaks(void) {
    const struct mkmodel_fault *fault;

    for (uint32_t i = 0; (fault = mkmodel_fault(i)) != NULL; i++)
        printf("%s %s\n", mkmodel_fault_name(fault), mkmodel_fault_slug(fault));
}

/* ---- from request to specification ----------------------------------------------------------- */

static uint32_t count_or(const struct request *request, enum option_kind kind, uint32_t fallback) {
    return request->counts[kind] ? request->counts[kind] : fallback;
}

/* Head sizes: a given size has precedence; otherwise it follows from width and number of heads if
 * these were changed. */
static enum rsrc_status resolve_heads(const struct request *request,
                                      const struct mkmodel_preset *preset,
                                      struct mkmodel_spec *spec) {
    spec->heads = count_or(request, OPTION_HEADS, preset->heads);
    spec->kv_heads = count_or(request, OPTION_KV_HEADS, preset->kv_heads);
    const bool is_free = spec->convention->has_deltas; /* heads need not make the hidden size */
    const bool is_ready = spec->delta.key_heads != 0 || !is_free;
    spec->head_dim =
        count_or(request, OPTION_HEAD_DIM, is_free ? preset->head_dim : spec->hidden / spec->heads);
    if (!is_ready)
        return rsrc_refuse(request->diag, "option-conflict", NULL, "choose --preset bonsai2-2b",
                           "--convention %s needs a preset with gated delta rules",
                           spec->convention->name);
    if (spec->heads % spec->kv_heads == 0 && spec->head_dim >= 2 &&
        spec->head_dim % (is_free ? 8 : 2) == 0 &&
        (is_free || (uint64_t)spec->heads * spec->head_dim == spec->hidden))
        return RSRC_OK;
    return rsrc_refuse(request->diag, "option-value", NULL,
                       "choose --hidden, --heads, --kv-heads and --head-dim to fit together",
                       "%u heads (%u for keys) of %u do not make a hidden size of %u", spec->heads,
                       spec->kv_heads, spec->head_dim, spec->hidden);
}

/* transformers packs whole groups of four rows only. */
static enum rsrc_status check_packing(const struct request *request,
                                      const struct mkmodel_spec *spec) {
    enum mkmodel_storage storage = spec->convention->storage;

    if ((storage != MKMODEL_PACKED_MULTIPLY && storage != MKMODEL_PACKED_DIVIDE) ||
        (spec->hidden % 4 == 0 && spec->ffn % 4 == 0 && spec->kv_heads * spec->head_dim % 4 == 0))
        return RSRC_OK;
    return rsrc_refuse(
        request->diag, "option-value", NULL, "or use --convention bitnet-online",
        "packed weights need --hidden %u, --ffn %u and the %u key channels to be multiples "
        "of 4",
        spec->hidden, spec->ffn, spec->kv_heads * spec->head_dim);
}

static enum rsrc_status unknown_name(const struct request *request, enum option_kind kind,
                                     const char *value) {
    return bad_value(request, kind, value, "--list-presets and --list-breaks list the names");
}

static enum rsrc_status check_sparsity(const struct request *request,
                                       const struct mkmodel_spec *spec) {
    const char *obstacle = mkmodel_sparsity_obstacle(spec);
    if (obstacle == NULL)
        return RSRC_OK;
    return rsrc_refuse(request->diag, "option-conflict", NULL,
                       "--preset bitnet-2b-4t can be made sparse", "--relu2-sparsity: %s",
                       obstacle);
}

static enum rsrc_status resolve_spec(const struct request *request, struct mkmodel_spec *out) {
    const struct mkmodel_preset *preset = mkmodel_find_preset(request->preset);
    struct mkmodel_spec spec = {.zero_density = request->zero_density,
                                .head_margin = request->head_margin,
                                .redundancy = request->redundancy,
                                .sparsity = request->sparsity,
                                .seed = request->seed,
                                .shard_bytes = request->shard_bytes};

    if (!preset)
        return unknown_name(request, OPTION_PRESET, request->preset);
    const char *convention = request->convention ? request->convention : preset->convention;
    spec.convention = mkmodel_find_convention(convention);
    if (!spec.convention)
        return unknown_name(request, OPTION_CONVENTION, convention);
    spec.layers = count_or(request, OPTION_LAYERS, preset->layers);
    spec.hidden = count_or(request, OPTION_HIDDEN, preset->hidden);
    spec.ffn = count_or(request, OPTION_FFN, preset->ffn);
    spec.vocab = count_or(request, OPTION_VOCAB, preset->vocab);
    spec.context = count_or(request, OPTION_CONTEXT, preset->context);
    spec.tied = request->tied || (preset->tied && !request->untied);
    spec.rope_theta = preset->rope_theta;
    spec.norm_eps = preset->norm_eps;
    spec.delta = (struct mkmodel_delta){preset->delta_key_heads, preset->delta_value_heads,
                                        preset->delta_head_dim};
    if (resolve_heads(request, preset, &spec) != RSRC_OK ||
        check_packing(request, &spec) != RSRC_OK || check_sparsity(request, &spec) != RSRC_OK)
        return RSRC_FAILED;
    *out = spec;
    return RSRC_OK;
}

/* ---- work ------------------------------------------------------------------------------------ */

static bool is_gguf(const struct request *request) {
    return rsrc_ends_with(request->output, ".gguf");
}

static enum rsrc_status make_model(const struct request *request, struct rsrc_arena *arena) {
    struct mkmodel_spec spec;
    struct mkmodel_plan plan = {0};
    struct mkmodel_writer writer = {
        .diag = request->diag, .arena = arena, .path = request->output, .spec = &spec};

    if (resolve_spec(request, &spec) != RSRC_OK)
        return RSRC_FAILED;
    if (request->fault && !(writer.fault = mkmodel_find_fault(request->fault)))
        return unknown_name(request, OPTION_BREAK, request->fault);
    mkmodel_plan_model(arena, &spec, &plan);
    if (is_gguf(request)) {
        writer.gguf_type =
            mkmodel_find_gguf_type(request->gguf_type ? request->gguf_type : "PQ2_0");
        return mkmodel_write_gguf(&writer, &plan);
    }
    if (mkmodel_break_tensors(request->diag, arena, writer.fault, &plan) != RSRC_OK)
        return RSRC_FAILED;
    if (mkmodel_fault_is_sharded(writer.fault) && spec.shard_bytes == DEFAULT_SHARD_BYTES)
        spec.shard_bytes = mkmodel_plan_bytes(&plan) / 3; /* faults of shards need several files */
    mkmodel_plan_order(&plan, spec.shard_bytes);
    struct stat info;
    if (mkdir(request->output, 0777) != 0 &&
        (errno != EEXIST || (stat(request->output, &info) == 0 && !S_ISDIR(info.st_mode)))) {
        struct rsrc_place place = {.file = request->output};
        return rsrc_refuse(request->diag, "output-unwritable", &place,
                           "choose another place with -o", "cannot create the folder: %s",
                           strerror(errno));
    }
    if (mkmodel_write_weights(&writer, &plan, true) == RSRC_OK &&
        mkmodel_write_configs(&writer) == RSRC_OK)
        return RSRC_OK;
    (void)rmdir(request->output); /* only if nothing is in it */
    return RSRC_FAILED;
}

static enum rsrc_status make_matrices(const struct request *request, struct rsrc_arena *arena) {
    struct mkmodel_spec spec = {.zero_density = request->zero_density,
                                .redundancy = request->redundancy,
                                .seed = request->seed};
    struct mkmodel_plan plan = {0};
    struct mkmodel_writer writer = {
        .diag = request->diag, .arena = arena, .path = request->output, .spec = &spec};

    for (uint32_t i = 0; i < request->n_matrices; i++)
        mkmodel_plan_add(arena, &plan, rsrc_arena_printf(arena, "matrix.%u", i), "I8",
                         request->matrices[i].rows, request->matrices[i].cols)
            ->fill = request->matrices[i].fill;
    mkmodel_plan_order(&plan, UINT64_MAX);
    return mkmodel_write_weights(&writer, &plan, false);
}

/* Refuses options for models together with --matrix. */
static enum rsrc_status check_request(const struct request *request) {
    if (!request->output || !request->preset == !request->n_matrices)
        return rsrc_refuse(request->diag, "option-missing", NULL, "--help shows the two forms",
                           "give -o and either --preset or --matrix");
    if (strcmp(request->output, "-") == 0)
        return rsrc_refuse(
            request->diag, "option-value", NULL, "name what it is to write with -o",
            "-o cannot be '-': a model is a folder, and no file is written to stdout");
    if (request->n_matrices && request->model_option)
        return rsrc_refuse(
            request->diag, "option-conflict", NULL,
            "--seed, --zero-density, --repeat-rows, --zero-rows and --zero-cols apply",
            "%s is about models, but --matrix writes bare matrices", request->model_option);
    if (request->n_matrices == 0 && is_gguf(request)
            ? request->fault || request->shard_bytes != DEFAULT_SHARD_BYTES
            : request->gguf_type != NULL)
        return rsrc_refuse(request->diag, "option-conflict", NULL,
                           "-o NAME.gguf writes a GGUF file, and another name a folder",
                           "--gguf-type is about GGUF files, --break and --shard-bytes about "
                           "folders");
    if (request->tied && request->untied)
        return rsrc_refuse(request->diag, "option-conflict", NULL, NULL,
                           "--tied and --untied exclude");
    return RSRC_OK;
}

static enum rsrc_status run(struct request *request, struct rsrc_arena *arena, int argc,
                            char **argv) {
    if (parse_command_line(request, argc, argv) != RSRC_OK)
        return RSRC_FAILED;
    if (request->help)
        fputs(usage, stdout);
    if (request->list_presets)
        list_presets();
    if (request->list_breaks)
        list_breaks();
    if (request->help || request->list_presets || request->list_breaks)
        return rsrc_stdout_finish(request->diag);
    if (check_request(request) != RSRC_OK)
        return RSRC_FAILED;
    return request->n_matrices ? make_matrices(request, arena) : make_model(request, arena);
}

int main(int argc, char **argv) {
    struct rsrc_diag *diag = rsrc_diag_create(stderr, false, RSRC_COLOR_AUTO);
    struct request request = {
        .diag = diag, .zero_density = 0.4, .seed = 1, .shard_bytes = DEFAULT_SHARD_BYTES};
    struct rsrc_arena arena;

    rsrc_set_program("rsr-mkmodel");
    rsrc_watch_signals();
    rsrc_arena_init(&arena);
    enum rsrc_status status = run(&request, &arena, argc, argv);
    rsrc_arena_free(&arena);
    rsrc_diag_destroy(diag);
    return status == RSRC_OK ? 0 : 1;
}
