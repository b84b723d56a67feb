/* ptx_mutants.c - breaks emitted kernels on purpose, one line at a time, and runs them in the
 * interpreter (ptx/ptx.h): each must be noticed, by an error or by wrong results.
 *
 * usage: ptx_mutants FOLDER KERNEL...
 *   FOLDER  the output of write_gpu_kernels; its PTX is used
 *   KERNEL  its number: all its functions; qN: the kernel that quantises, on the floats of kernel N
 *
 * The program breaks lines that 9 tokens execute: it omits each barrier, changes each mask and lane
 * of a shuffle or reduction, and each offset of a memory access. It also changes the number of
 * blocks and of threads. It prints the number of mutants and those that nothing noticed, and exits
 * 1 if there is such a mutant, or nothing to break.
 */
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/round.h"
#include "emit/ptx/cuda_unit.h"
#include "gpu_kernel_list.h"
#include "gpu_problem.h"
#include "ptx/ptx.h"

/* Whole turns of every token tile, and one that is not full; the largest value of some token is in
 * each of 8 warps. */
#define N_TOKENS GPU_TOKENS

struct mutants {
    struct gpu_problem problems[2]; /* GPU_RANDOM, GPU_NOT_FINITE */
    const char *name;
    char symbol[96];
    struct rsr_gpu_entry entry; /* of the kernel */
    bool quantizes;             /* the kernel makes activation rows of floats */
    bool *executed;             /* [lines of the kernel's text], from 1 on */
    uint32_t n_made, n_survivors;
};

/* ---- a run ----------------------------------------------------------------------------------- */

static uint64_t copy_of(struct ptx_memory *memory, const void *bytes, size_t size_bytes) {
    const uint64_t address = ptx_allocate(memory, size_bytes);
    (void)ptx_upload(memory, address, bytes, size_bytes);
    return address;
}

/* What is launched. */
struct attempt {
    const struct ptx_kernel *kernel;
    uint32_t n_blocks, n_turns, n_threads;
    struct ptx_memory memory;
};

static bool launch(struct attempt *a, const void *parameters, struct ptx_counts *counts) {
    struct ptx_error error;
    const struct ptx_launch launch = {.kernel = a->kernel,
                                      .grid = {a->n_blocks, a->n_turns, 1},
                                      .block = {a->n_threads, 1, 1},
                                      .parameters = parameters,
                                      .max_steps = 20000000};
    return ptx_run(&a->memory, &launch, counts, &error);
}

/* Whether the kernel multiplies correctly. */
static bool multiplies(struct attempt *a, struct gpu_problem *p, struct ptx_counts *counts) {
    memset(p->y, GPU_POISON, gpu_problem_y_bytes(p));
    const struct {
        uint64_t x, ldx, codes, scale, y, ldy;
        uint32_t n_tokens, unused;
    } parameters = {.x = copy_of(&a->memory, p->rows, gpu_problem_row_bytes(p)),
                    .ldx = p->row_bytes,
                    .codes = copy_of(&a->memory, p->codes, p->plan.weight_bytes),
                    .scale = copy_of(&a->memory, p->scale, p->matrix.n_scales * sizeof(float)),
                    .y = copy_of(&a->memory, p->y, gpu_problem_y_bytes(p)),
                    .ldy = p->ldy,
                    .n_tokens = N_TOKENS};
    return launch(a, &parameters, counts) &&
           ptx_download(&a->memory, p->y, parameters.y, gpu_problem_y_bytes(p)) &&
           gpu_problem_is_right(p, N_TOKENS);
}

/* Whether the kernel makes the runtime's activation rows. */
static bool quantizes(struct attempt *a, const struct gpu_problem *p, enum gpu_values values,
                      struct ptx_counts *counts) {
    const size_t size_bytes = gpu_problem_row_bytes(p);
    const uint32_t zero = 0;
    uint32_t not_finite = 0;
    uint8_t *rows = malloc(size_bytes);
    memset(rows, GPU_POISON, size_bytes);
    const struct {
        uint64_t x, ldx, y, ldy;
        uint32_t cols, unused;
        uint64_t not_finite;
    } parameters = {.x = copy_of(&a->memory, p->x, gpu_problem_x_bytes(p)),
                    .ldx = p->ldx,
                    .y = copy_of(&a->memory, rows, size_bytes),
                    .ldy = p->row_bytes,
                    .cols = p->matrix.cols,
                    .not_finite = copy_of(&a->memory, &zero, sizeof zero)};
    const bool right =
        launch(a, &parameters, counts) &&
        ptx_download(&a->memory, rows, parameters.y, size_bytes) &&
        ptx_download(&a->memory, &not_finite, parameters.not_finite, sizeof not_finite) &&
        gpu_problem_is_quantized(p, rows, N_TOKENS) &&
        not_finite == gpu_problem_reports(values, N_TOKENS);
    free(rows);
    return right;
}

/* Whether a text's kernel solves both problems; the other numbers change the launch. Records
 * the executed lines. */
static bool is_text_right(struct mutants *m, const struct rsrc_buffer *text, int more_blocks,
                          int more_turns, uint32_t threads_factor, uint32_t threads_divisor,
                          bool *executed) {
    static const enum gpu_values VALUES[] = {GPU_RANDOM, GPU_NOT_FINITE};
    struct rsrc_arena arena;
    struct ptx_module module;
    struct ptx_error error;
    rsrc_arena_init(&arena);
    bool right = true;
    struct ptx_counts counts = {0};
    if (!ptx_parse(&arena, text->data, text->size_bytes, &module, &error)) {
        fprintf(stderr, "error: a text that is no PTX: line %u: %s\n", error.line, error.text);
        exit(1);
    }
    const struct ptx_kernel *kernel = ptx_find_kernel(&module, m->symbol);
    counts.by_instruction = RSRC_NEW_ARRAY(&arena, kernel->n_instructions, uint64_t);
    for (uint32_t i = 0; i < 2 && right; i++) {
        const struct rsr_matvec *plan = &m->problems[i].plan;
        const uint32_t threads = m->quantizes ? RSRC_GPU_QUANTIZE_THREADS : rsrc_gpu_threads(plan);
        const uint32_t blocks = m->quantizes ? N_TOKENS : plan->blocks;
        const uint32_t turns = m->quantizes ? 1 : rsrc_divide_up(N_TOKENS, m->entry.token_tile);
        struct attempt attempt = {.kernel = kernel,
                                  .n_blocks = blocks + (uint32_t)more_blocks,
                                  .n_turns = turns + (uint32_t)more_turns,
                                  .n_threads = threads * threads_factor / threads_divisor};
        ptx_memory_init(&attempt.memory);
        right = m->quantizes ? quantizes(&attempt, &m->problems[i], VALUES[i], &counts)
                             : multiplies(&attempt, &m->problems[i], &counts);
        ptx_memory_free(&attempt.memory);
    }
    for (uint32_t i = 0; executed != NULL && i < kernel->n_instructions; i++)
        executed[kernel->code[i].line] |= counts.by_instruction[i] != 0;
    rsrc_arena_free(&arena);
    return right;
}

static void judge(struct mutants *m, bool survived, const char *what, const char *line,
                  size_t n_line) {
    m->n_made++;
    if (!survived)
        return;
    m->n_survivors++;
    printf("%s, %s: survives: %s: %.*s\n", m->name, m->symbol, what, (int)n_line, line);
}

/* ---- how to break a line --------------------------------------------------------------------- */

/* The line without its barrier. */
static bool drop_barrier(const char *line, size_t n, struct rsrc_buffer *out) {
    (void)out;
    return memmem(line, n, "bar.sync", 8) != NULL;
}

static bool is_exchange(const char *line, size_t n) {
    return memmem(line, n, "shfl.sync", 9) != NULL || memmem(line, n, "redux.sync", 10) != NULL;
}

/* Replaces the value of an operand, counted from the last one. */
static void put_operand(const char *line, size_t n, uint32_t from_last, const char *value,
                        struct rsrc_buffer *out) {
    size_t end = n;
    while (end > 0 && line[end - 1] != ';')
        end--;
    end -= end > 0;
    size_t begin = end;
    for (uint32_t commas = 0; begin > 0; begin--) {
        commas += line[begin - 1] == ',';
        if (commas > from_last)
            break;
        if (line[begin - 1] == ',')
            end = begin - 1;
    }
    rsrc_buffer_append(out, line, begin);
    rsrc_buffer_printf(out, " %s", value);
    rsrc_buffer_append(out, line + end, n - end);
}

static bool narrow_mask(const char *line, size_t n, struct rsrc_buffer *out) {
    if (!is_exchange(line, n))
        return false;
    put_operand(line, n, 0, "65535", out);
    return true;
}

static bool change_lane(const char *line, size_t n, struct rsrc_buffer *out) {
    if (memmem(line, n, "shfl.sync", 9) == NULL)
        return false;
    put_operand(line, n, 2, "8", out);
    return true;
}

/* Bytes of an access: its type at the end of the opcode, and how many. */
static uint32_t access_bytes(const char *line, size_t n) {
    const bool is_wide = memmem(line, n, "64 ", 3) != NULL || memmem(line, n, "64\t", 3) != NULL;
    const uint32_t vector = memmem(line, n, ".v4.", 4) != NULL   ? 4
                            : memmem(line, n, ".v2.", 4) != NULL ? 2
                                                                 : 1;
    return vector * (is_wide ? 8 : 4);
}

/* Appends the line with its access moved to the neighbouring element. */
static bool shift_access(const char *line, size_t n, struct rsrc_buffer *out) {
    const char *close = memchr(line, ']', n);
    const bool is_access = memmem(line, n, "ld.", 3) != NULL || memmem(line, n, "st.", 3) != NULL;
    if (close == NULL || !is_access || memmem(line, n, ".param", 6) != NULL)
        return false;
    const char *plus = memchr(line, '+', (size_t)(close - line));
    const char *end = plus != NULL ? plus : close;
    const long offset = plus != NULL ? strtol(plus + 1, NULL, 10) : 0;
    rsrc_buffer_append(out, line, (size_t)(end - line));
    rsrc_buffer_printf(out, "+%ld", offset + (long)access_bytes(line, n));
    rsrc_buffer_append(out, close, (size_t)(line + n - close));
    return true;
}

/* Appends the changed line. False: the line cannot be broken in this way. */
static const struct {
    const char *what;
    bool (*change)(const char *line, size_t n, struct rsrc_buffer *out);
} MUTATORS[] = {{"no barrier", drop_barrier},
                {"the mask 0xffff", narrow_mask},
                {"lane 8", change_lane},
                {"the neighbour", shift_access}};

static void break_lines(struct mutants *m, const struct rsrc_buffer *text) {
    const char *begin = text->data, *end = text->data + text->size_bytes;
    uint32_t number = 0;
    for (const char *line = begin, *next; line < end; line = next) {
        const char *newline = memchr(line, '\n', (size_t)(end - line));
        next = newline != NULL ? newline + 1 : end;
        const size_t n = (size_t)(next - line);
        if (!m->executed[++number])
            continue;
        for (size_t i = 0; i < sizeof MUTATORS / sizeof MUTATORS[0]; i++) {
            struct rsrc_buffer changed = {0};
            rsrc_buffer_append(&changed, begin, (size_t)(line - begin));
            if (MUTATORS[i].change(line, n, &changed)) {
                rsrc_buffer_append(&changed, next, (size_t)(end - next));
                judge(m, is_text_right(m, &changed, 0, 0, 1, 1, NULL), MUTATORS[i].what, line,
                      n - 1);
            }
            rsrc_buffer_free(&changed);
        }
    }
}

static void break_launch(struct mutants *m, const struct rsrc_buffer *text) {
    judge(m, is_text_right(m, text, -1, 0, 1, 1, NULL), "a block less", "", 0);
    if (!m->quantizes)
        judge(m, is_text_right(m, text, 0, -1, 1, 1, NULL), "tokens without a block", "", 0);
    judge(m, is_text_right(m, text, 0, 0, 1, 2, NULL), "half the threads", "", 0);
    judge(m, is_text_right(m, text, 0, 0, 2, 1, NULL), "twice the threads", "", 0);
}

/* ---- kernels --------------------------------------------------------------------------------- */

static bool read_file(const char *folder, const char *name, struct rsrc_buffer *out) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        perror(path);
        return false;
    }
    char bytes[65536];
    for (size_t n; (n = fread(bytes, 1, sizeof bytes, file)) != 0;)
        rsrc_buffer_append(out, bytes, n);
    fclose(file);
    return true;
}

/* The header and one function, from its entry on. */
static bool cut_function(const struct rsrc_buffer *module, const char *symbol,
                         struct rsrc_buffer *out) {
    char entry[128];
    snprintf(entry, sizeof entry, ".visible .entry %s(", symbol);
    const char *header = strstr(module->data, "\n\n"), *begin = strstr(module->data, entry);
    const char *end = begin != NULL ? strstr(begin, "\n}") : NULL;
    if (header == NULL || end == NULL)
        return false;
    rsrc_buffer_append(out, module->data, (size_t)(header + 1 - module->data));
    rsrc_buffer_append(out, begin, (size_t)(end + 3 - begin));
    return true;
}

static bool break_function(struct mutants *m, const struct rsrc_buffer *module) {
    struct rsrc_buffer text = {0};
    bool right = cut_function(module, m->symbol, &text);
    m->executed = calloc(text.size_bytes + 2, sizeof *m->executed);
    right = right && m->executed != NULL && is_text_right(m, &text, 0, 0, 1, 1, m->executed);
    if (right) {
        break_lines(m, &text);
        break_launch(m, &text);
    } else {
        fprintf(stderr, "error: %s, %s is wrong as it is\n", m->name, m->symbol);
    }
    free(m->executed);
    rsrc_buffer_free(&text);
    return right;
}

static bool break_kernel(struct mutants *m, const struct gpu_kernel_list *list, uint32_t k,
                         const struct rsrc_buffer *module) {
    static const enum gpu_values VALUES[] = {GPU_RANDOM, GPU_NOT_FINITE};
    struct rsr_gpu_entry entries[RSR_GPU_MAX_FUNCTIONS];
    uint64_t state = 1000 + k;
    bool right = true;
    for (uint32_t i = 0; i < 2; i++)
        right &= gpu_problem_make(&m->problems[i], &list->plans[k], VALUES[i], &state);
    const uint32_t n = m->quantizes ? 1 : rsrc_gpu_launches(&list->plans[k], entries);
    for (uint32_t i = 0; right && i < n; i++) {
        m->entry = entries[i];
        snprintf(m->symbol, sizeof m->symbol, m->quantizes ? RSRC_GPU_QUANTIZE : "kernel_%u_%u", k,
                 entries[i].token_tile);
        right = break_function(m, module);
    }
    for (uint32_t i = 0; i < 2; i++)
        gpu_problem_free(&m->problems[i]);
    return right;
}

static bool read_list(struct gpu_kernel_list *list, const char *folder) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, GPU_LIST_NAME);
    FILE *file = fopen(path, "rb");
    const bool right = file != NULL && gpu_kernel_list_read(list, file);
    if (file != NULL)
        fclose(file);
    if (!right)
        fprintf(stderr, "error: %s is no list of kernels\n", path);
    return right;
}

int main(int argc, char **argv) {
    static struct gpu_kernel_list list;
    struct mutants m = {0};
    if (argc < 3) {
        fputs("usage: ptx_mutants FOLDER KERNEL...\n", stderr);
        return 1;
    }
    bool right = read_list(&list, argv[1]);
    for (uint32_t i = 0; right && i < list.n_modules; i++) {
        struct rsrc_buffer module = {0};
        m.name = list.modules[i];
        if (strstr(m.name, ".ptx") == NULL)
            continue;
        right = read_file(argv[1], m.name, &module);
        for (int k = 2; right && k < argc; k++) {
            m.quantizes = argv[k][0] == 'q';
            const unsigned long number = strtoul(argv[k] + m.quantizes, NULL, 10);
            right = number < list.n_kernels && break_kernel(&m, &list, (uint32_t)number, &module);
        }
        rsrc_buffer_free(&module);
    }
    printf("%u broken kernels, %u survive\n", m.n_made, m.n_survivors);
    return !right || m.n_survivors != 0 || m.n_made == 0;
}
