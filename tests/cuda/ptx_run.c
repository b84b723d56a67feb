/* ptx_run.c - runs every layer that `rsrc MODEL --emit=ptx -o FOLDER/` wrote in the interpreter
 * (ptx/ptx.h), with 1 to 9 tokens, and those of fold and segment with 31 to 40: quantises
 * floats on the GPU, multiplies what was made of them, and compares the bits with those of the
 * layer's CPU kernel in a module of the same model.
 *
 * usage: ptx_run [--seed=N] [--tokens=N] [--opcodes] FOLDER MODULE.so
 *   --seed     chooses the order of warps and blocks, and the activations
 *   --tokens   runs only this number of tokens
 *   --opcodes  also prints how often each instruction was executed
 *
 * Prints the instructions of warps for each layer and number of tokens, and their sum; those that
 * quantise, once for each layer, by themselves. Exits 1 if anything is wrong.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "open_module.h"
#include "ops/ops.h"
#include "ptx/ptx.h"
#include "rsr_abi.h"

#define MAX_TOKENS 40u
/* The first N_FEW are of every function, the others of fold's and segment's. */
static const uint32_t TOKENS[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 31, 32, 33, MAX_TOKENS};
#define N_FEW 9u
#define N_ALL (sizeof TOKENS / sizeof *TOKENS)
#define POISON 0x5a
#define QUANTIZE "rsr_quantize"

struct run {
    struct rsrc_arena arena;
    const struct rsr_target *cpu;
    const char *folder;
    uint64_t seed;
    uint32_t only; /* tokens; 0: all counts */
    bool wants_opcodes;
    uint64_t warp_instructions, thread_instructions;
    uint64_t quantizing; /* instructions of warps, not counted above */
    uint32_t n_kernels, n_launches, n_wrong;
};

/* One kernel with what it reads, and its CPU kernel. */
struct layer {
    const char *symbol, *text;
    struct ptx_module module;
    const struct ptx_kernel *quantize, *kernel; /* kernel: the function that runs */
    const struct rsr_kernel_desc *cpu;
    uint32_t n_blocks, n_threads, token_tile; /* of that function */
    uint32_t n_quantize_threads;
    struct ptx_memory memory;
    uint64_t codes, scale; /* addresses */
    size_t ldx, ldy, row_bytes;
    float *x;        /* [MAX_TOKENS][ldx] */
    char *rows;      /* the same, quantised */
    float *expected; /* [MAX_TOKENS][cpu->rows] */
    struct ptx_counts counts, quantizing;
};

static bool complain(const struct layer *layer, const char *what) {
    fprintf(stderr, "%s: %s\n", layer->symbol, what);
    return false;
}

/* ---- files ----------------------------------------------------------------------------------- */

static char *read_file(struct run *r, const char *symbol, const char *suffix, size_t *size_bytes) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s%s", r->folder, symbol, suffix);
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        perror(path);
        return NULL;
    }
    fseek(file, 0, SEEK_END);
    const long size = ftell(file);
    rewind(file);
    char *bytes = rsrc_arena_alloc(&r->arena, (size_t)size + 1);
    *size_bytes = fread(bytes, 1, (size_t)size, file);
    fclose(file);
    return bytes;
}

static uint64_t copy_of(struct ptx_memory *memory, const void *bytes, size_t size_bytes) {
    const uint64_t address = ptx_allocate(memory, size_bytes);
    (void)ptx_upload(memory, address, bytes, size_bytes);
    return address;
}

static bool load_weights(struct run *r, struct layer *layer) {
    size_t n_codes = 0, n_scale = 0;
    const char *codes = read_file(r, layer->symbol, ".codes", &n_codes);
    const char *scale = read_file(r, layer->symbol, ".scale", &n_scale);
    if (codes == NULL || scale == NULL)
        return false;
    layer->codes = copy_of(&layer->memory, codes, n_codes);
    layer->scale = copy_of(&layer->memory, scale, n_scale);
    return true;
}

/* The CPU kernel whose name has this beginning: rsr_l0_q_. */
static bool find_cpu_kernel(const struct run *r, struct layer *layer) {
    size_t n = 0;
    for (uint32_t parts = 0; parts < 3 && layer->symbol[n] != '\0'; n++)
        parts += layer->symbol[n] == '_';
    for (uint32_t i = 0; i < r->cpu->n_kernels && layer->cpu == NULL; i++)
        if (strncmp(r->cpu->kernels[i].name, layer->symbol, n) == 0)
            layer->cpu = &r->cpu->kernels[i];
    return (layer->cpu != NULL && layer->cpu->input == RSR_INPUT_I8 &&
            layer->cpu->epilogue == RSR_EPILOGUE_SCALE) ||
           complain(layer, "the module has no such kernel of int8 activations");
}

/* What a line of the comment before a kernel says; NULL: there is no such line. */
static const char *find_comment(const char *text, const char *symbol, const char *word) {
    char comment[256];
    snprintf(comment, sizeof comment, "\n// %s\n", symbol);
    const char *begin = strstr(text, comment);
    snprintf(comment, sizeof comment, "\n// %s: ", word);
    const char *line = begin != NULL ? strstr(begin, comment) : NULL;
    return line != NULL ? line + strlen(comment) : NULL;
}

static bool load_text(struct run *r, struct layer *layer) {
    size_t size_bytes = 0;
    struct ptx_error error;
    layer->text = read_file(r, layer->symbol, ".ptx", &size_bytes);
    if (layer->text == NULL)
        return false;
    if (!ptx_parse(&r->arena, layer->text, size_bytes, &layer->module, &error)) {
        fprintf(stderr, "%s.ptx:%u: %s\n", layer->symbol, error.line, error.text);
        return false;
    }
    const char *launch = find_comment(layer->text, QUANTIZE, "Launch");
    layer->quantize = ptx_find_kernel(&layer->module, QUANTIZE);
    return (launch != NULL && layer->quantize != NULL &&
            sscanf(launch, "a block of %u threads a row", &layer->n_quantize_threads) == 1) ||
           complain(layer, "nothing quantises in it");
}

/* Takes a function that is no rsr_quantize: its name ends with the tokens that share a reading, and
 * before them is the name in the comment that tells its launch. */
static bool take_function(struct layer *layer, const struct ptx_kernel *function) {
    char symbol[256];
    snprintf(symbol, sizeof symbol, "%s", function->name);
    char *end = strrchr(symbol, '_');
    if (end == NULL || sscanf(end, "_%u", &layer->token_tile) != 1)
        return complain(layer, "a function's name does not say its tokens");
    *end = '\0';
    const char *launch = find_comment(layer->text, symbol, "Launch");
    layer->kernel = function;
    return (launch != NULL &&
            sscanf(launch, "%u blocks of %u threads", &layer->n_blocks, &layer->n_threads) == 2) ||
           complain(layer, "its comment says no launch");
}

/* ---- the CPU --------------------------------------------------------------------------------- */

static float random_float(uint64_t *state) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (float)((double)(*state >> 40) / (1 << 23) - 1.0) * 3.0f;
}

static void make_activations(struct run *r, struct layer *layer) {
    const struct rsr_ops *ops = rsr_ops_get(RSR_OPS_GENERIC);
    const uint32_t cols = layer->cpu->cols;
    layer->ldx = (cols + 3u) / 4 * 4 + 4;
    layer->ldy = layer->cpu->rows + 3u;
    layer->row_bytes =
        RSR_ACT_HEADER + ((size_t)cols + RSR_ACT_PAD - 1) / RSR_ACT_PAD * RSR_ACT_PAD;
    layer->x = rsrc_arena_array(&r->arena, MAX_TOKENS * layer->ldx, sizeof(float));
    layer->rows = rsrc_arena_array(&r->arena, MAX_TOKENS, layer->row_bytes);
    uint64_t state = r->seed;
    for (uint32_t t = 0; t < MAX_TOKENS; t++) {
        float *x = layer->x + t * layer->ldx;
        for (uint32_t i = 0; i < cols; i++)
            x[i] = random_float(&state);
        (void)ops->quantize((struct rsr_act_row *)(void *)(layer->rows + t * layer->row_bytes), x,
                            cols);
    }
}

static void compute_expected(struct run *r, struct layer *layer) {
    const struct rsr_kernel_desc *cpu = layer->cpu;
    const struct rsr_worker worker = {.tile_end = cpu->n_tiles, .count = 1};
    layer->expected = rsrc_arena_array(&r->arena, (size_t)MAX_TOKENS * cpu->rows, sizeof(float));
    void *scratch = rsrc_arena_alloc(&r->arena, cpu->scratch_bytes + 64);
    for (uint32_t t = 0; t < MAX_TOKENS; t++)
        cpu->fn(layer->rows + t * layer->row_bytes, layer->row_bytes,
                layer->expected + (size_t)t * cpu->rows, cpu->rows, 1, &cpu->weights, &worker,
                scratch);
}

/* ---- a launch -------------------------------------------------------------------------------- */

/* The parameters of the emitted kernels (compiler/emit/ptx/cuda_unit.c). */
struct parameters {
    uint64_t x, ldx, codes, scale, y, ldy;
    uint32_t n_tokens, unused;
};
struct quantize_parameters {
    uint64_t x, ldx, y, ldy;
    uint32_t cols, unused;
    uint64_t not_finite;
};

static bool launch(const struct run *r, struct layer *layer, const struct ptx_launch *how,
                   uint32_t n_tokens, struct ptx_counts *counts) {
    struct ptx_launch launch = *how;
    struct ptx_error error;
    launch.seed = r->seed + n_tokens;
    if (ptx_run(&layer->memory, &launch, counts, &error))
        return true;
    fprintf(stderr, "%s.ptx:%u: %u tokens: %s\n", layer->symbol, error.line, n_tokens, error.text);
    return false;
}

/* Makes rows of floats; their values are checked by what is computed of them. */
static bool quantize(const struct run *r, struct layer *layer, uint32_t n_tokens, uint64_t rows) {
    uint32_t not_finite = 0;
    const struct quantize_parameters p = {
        .x = copy_of(&layer->memory, layer->x,
                     ((n_tokens - 1) * layer->ldx + layer->cpu->cols) * sizeof(float)),
        .ldx = layer->ldx,
        .y = rows,
        .ldy = layer->row_bytes,
        .cols = layer->cpu->cols,
        .not_finite = copy_of(&layer->memory, &not_finite, sizeof not_finite)};
    const struct ptx_launch how = {.kernel = layer->quantize,
                                   .grid = {n_tokens, 1, 1},
                                   .block = {layer->n_quantize_threads, 1, 1},
                                   .parameters = &p};
    const bool right =
        launch(r, layer, &how, n_tokens, &layer->quantizing) &&
        ((ptx_download(&layer->memory, &not_finite, p.not_finite, sizeof not_finite) &&
          not_finite == 0) ||
         complain(layer, "finite activations are reported"));
    (void)ptx_release(&layer->memory, p.x);
    (void)ptx_release(&layer->memory, p.not_finite);
    return right;
}

/* All results are the CPU's, and nothing was written beside them. */
static bool is_right(struct layer *layer, const struct parameters *p, float *y, size_t y_bytes) {
    bool right = ptx_download(&layer->memory, y, p->y, y_bytes);
    uint8_t poison[3 * sizeof(float)];
    memset(poison, POISON, sizeof poison);
    const uint32_t rows = layer->cpu->rows;
    for (uint32_t t = 0; t < p->n_tokens; t++)
        right = right &&
                memcmp(y + t * layer->ldy, layer->expected + (size_t)t * rows,
                       rows * sizeof(float)) == 0 &&
                memcmp(y + t * layer->ldy + rows, poison, sizeof poison) == 0;
    return right;
}

static bool run_tokens(struct run *r, struct layer *layer, uint32_t n_tokens) {
    const size_t y_bytes = n_tokens * layer->ldy * sizeof(float);
    float *y = malloc(y_bytes);
    if (y == NULL)
        rsrc_out_of_memory(y_bytes);
    memset(y, POISON, y_bytes);
    const struct parameters p = {.x = ptx_allocate(&layer->memory, n_tokens * layer->row_bytes),
                                 .ldx = layer->row_bytes,
                                 .codes = layer->codes,
                                 .scale = layer->scale,
                                 .y = copy_of(&layer->memory, y, y_bytes),
                                 .ldy = layer->ldy,
                                 .n_tokens = n_tokens};
    const struct ptx_launch how = {
        .kernel = layer->kernel,
        .grid = {layer->n_blocks, (n_tokens + layer->token_tile - 1) / layer->token_tile, 1},
        .block = {layer->n_threads, 1, 1},
        .parameters = &p};
    const bool right =
        quantize(r, layer, n_tokens, p.x) && launch(r, layer, &how, n_tokens, &layer->counts) &&
        (is_right(layer, &p, y, y_bytes) || complain(layer, "the results are not the CPU's"));
    free(y);
    (void)ptx_release(&layer->memory, p.x);
    (void)ptx_release(&layer->memory, p.y);
    return right;
}

/* ---- a layer --------------------------------------------------------------------------------- */

static void print_opcodes(const struct layer *layer) {
    for (uint32_t name = 0; name < layer->module.n_opcodes; name++) {
        uint64_t n = 0;
        for (uint32_t i = 0; i < layer->kernel->n_instructions; i++)
            n += layer->kernel->code[i].name == name ? layer->counts.by_instruction[i] : 0;
        if (n != 0)
            printf("    %12llu %s\n", (unsigned long long)n, layer->module.opcodes[name]);
    }
}

static bool run_counts(struct run *r, struct layer *layer) {
    if (layer->kernel->parameter_bytes != offsetof(struct parameters, unused) ||
        layer->quantize->parameter_bytes != sizeof(struct quantize_parameters))
        return complain(layer, "other parameters than those of a matrix times vectors");
    const bool is_segment = strstr(layer->symbol, "_segment_") != NULL;
    for (size_t i = 0; i < (is_segment || layer->token_tile == 32 ? N_ALL : N_FEW); i++) {
        const uint32_t n = TOKENS[i];
        if (r->only != 0 && r->only != n)
            continue;
        const uint64_t before = layer->counts.warp_instructions;
        r->n_launches++;
        if (!run_tokens(r, layer, n))
            return false;
        printf("%s%llu", n == 1 || r->only != 0 ? "" : " ",
               (unsigned long long)(layer->counts.warp_instructions - before));
    }
    printf(" %s\n", layer->kernel->name);
    if (r->wants_opcodes)
        print_opcodes(layer);
    return true;
}

/* With --tokens=N: whether the function is the one for so many tokens, by the order in which the
 * comments list them: the first that computes them at once, else the last. */
static bool is_for(const struct layer *layer, const struct ptx_kernel *function, uint32_t only) {
    const struct ptx_kernel *best = NULL;
    for (uint32_t i = 0; i < layer->module.n_kernels && only != 0; i++) {
        const struct ptx_kernel *candidate = &layer->module.kernels[i];
        const char *end = strrchr(candidate->name, '_');
        const bool enough = best != NULL && strtoul(strrchr(best->name, '_') + 1, NULL, 10) >= only;
        if (candidate != layer->quantize && end != NULL && !enough)
            best = candidate;
    }
    return only == 0 || best == function;
}

static void run_functions(struct run *r, struct layer *layer) {
    for (uint32_t i = 0; i < layer->module.n_kernels; i++) {
        const struct ptx_kernel *function = &layer->module.kernels[i];
        if (function == layer->quantize || !is_for(layer, function, r->only))
            continue;
        r->n_kernels++;
        layer->counts = (struct ptx_counts){
            .by_instruction = RSRC_NEW_ARRAY(&r->arena, function->n_instructions, uint64_t)};
        r->n_wrong += !(take_function(layer, function) && run_counts(r, layer));
        r->warp_instructions += layer->counts.warp_instructions;
        r->thread_instructions += layer->counts.thread_instructions;
    }
}

static void run_layer(struct run *r, const char *symbol) {
    struct layer layer = {.symbol = symbol};
    ptx_memory_init(&layer.memory);
    if (load_text(r, &layer) && find_cpu_kernel(r, &layer) && load_weights(r, &layer)) {
        make_activations(r, &layer);
        compute_expected(r, &layer);
        run_functions(r, &layer);
    } else {
        r->n_kernels++;
        r->n_wrong++;
    }
    r->quantizing += layer.quantizing.warp_instructions;
    ptx_memory_free(&layer.memory);
}

static int is_ptx(const struct dirent *entry) {
    const size_t n = strlen(entry->d_name);
    return n > 4 && strcmp(entry->d_name + n - 4, ".ptx") == 0;
}

static void run_folder(struct run *r) {
    struct dirent **entries = NULL;
    const int n = scandir(r->folder, &entries, is_ptx, alphasort);
    for (int i = 0; i < n; i++) {
        const char *name = entries[i]->d_name;
        run_layer(r, rsrc_arena_strndup(&r->arena, name, strlen(name) - 4));
        free(entries[i]);
    }
    free(entries);
    printf(
        "%u kernels, %u launches, %u wrong, %llu instructions of warps, %llu of threads, and %llu "
        "of warps that quantise\n",
        r->n_kernels, r->n_launches, r->n_wrong, (unsigned long long)r->warp_instructions,
        (unsigned long long)r->thread_instructions, (unsigned long long)r->quantizing);
}

/* ---- command line ---------------------------------------------------------------------------- */

static bool read_options(struct run *r, int argc, char **argv) {
    const char *module = NULL;
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "--seed=", 7) == 0)
            r->seed = strtoull(argv[i] + 7, NULL, 10);
        else if (strncmp(argv[i], "--tokens=", 9) == 0)
            r->only = (uint32_t)strtoul(argv[i] + 9, NULL, 10);
        else if (strcmp(argv[i], "--opcodes") == 0)
            r->wants_opcodes = true;
        else if (argv[i][0] != '-' && r->folder == NULL)
            r->folder = argv[i];
        else if (argv[i][0] != '-' && module == NULL)
            module = argv[i];
        else
            return false;
    }
    const struct rsr_module *opened =
        module != NULL && r->only <= MAX_TOKENS ? open_module(module) : NULL;
    r->cpu = opened != NULL ? opened->targets : NULL;
    return r->cpu != NULL;
}

int main(int argc, char **argv) {
    struct run r = {.seed = 1};
    rsrc_arena_init(&r.arena);
    const bool right = read_options(&r, argc, argv);
    if (!right)
        fputs("usage: ptx_run [--seed=N] [--tokens=N] [--opcodes] FOLDER MODULE.so\n", stderr);
    else
        run_folder(&r);
    rsrc_arena_free(&r.arena);
    return !right || r.n_wrong != 0 || r.n_launches == 0;
}
