/* kernel_parse.c - reads the text form of kernels; see kernel_text.c.
 *
 * The text is untrusted: the parser checks that every word is known, every name declared and every
 * number in range; then rsrc_find_kernel_problem checks the whole kernel. Diagnostics have the
 * place and the slug "kernel-text".
 */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/text_scan.h"
#include "kernel_ops.h"
#include "kernel/kernel_names.h"
#include "kernel/kernel.h"

/* A hash table from names of registers to numbers: open addressing, a power of two of slots, at
 * most half full. */
struct reg_table {
    uint32_t n_slots;
    uint32_t *slots; /* number + 1; 0: empty */
};

struct op_list {
    struct rsr_kop *ops;
    uint32_t n, capacity;
};

/* Places of the lines of operations: first the code, then every body; the line after the last
 * operation closes each. */
struct place_list {
    const char **at;
    uint32_t n, capacity;
};

struct reg_list {
    struct rsr_kreg *regs;
    uint32_t n, capacity;
    struct reg_table table;
};

/* ---- registers ------------------------------------------------------------------------------- */

/* FNV-1a */
static uint32_t hash_name(const char *name) {
    uint32_t hash = 2166136261u;
    for (; *name != '\0'; name++)
        hash = (hash ^ (uint8_t)*name) * 16777619u;
    return hash;
}

/* The slot of a name, or the empty one where it would be. */
static uint32_t *find_slot(const struct reg_list *list, const char *name) {
    uint32_t at = hash_name(name) & (list->table.n_slots - 1);
    while (list->table.slots[at] != 0 &&
           strcmp(list->regs[list->table.slots[at] - 1].name, name) != 0)
        at = (at + 1) & (list->table.n_slots - 1);
    return &list->table.slots[at];
}

static void grow_table(struct rsrc_arena *arena, struct reg_list *list) {
    list->table.n_slots = list->table.n_slots == 0 ? 128 : 2 * list->table.n_slots;
    list->table.slots = RSRC_NEW_ARRAY(arena, list->table.n_slots, uint32_t);
    for (uint32_t i = 0; i < list->n; i++)
        *find_slot(list, list->regs[i].name) = i + 1;
}

/* "v16i32", "i64" */
static enum rsrc_status parse_type(struct rsrc_scan *scan, struct rsr_kreg *out) {
    char word[RSRC_SCAN_NAME_BYTES];
    const struct rsrc_scan start = *scan;
    if (rsrc_scan_identifier(scan, "the type", word) != RSRC_OK)
        return RSRC_FAILED;
    char *elem = word;
    out->lanes = 1;
    if (word[0] == 'v') {
        out->lanes = 0;
        for (elem = word + 1; *elem >= '0' && *elem <= '9' && out->lanes <= 64; elem++)
            out->lanes = out->lanes * 10 + (uint32_t)(*elem - '0');
    }
    for (uint32_t e = 0; e < RSR_ELEM_COUNT; e++)
        if (strcmp(elem, rsrc_elem_names[e]) == 0) {
            out->elem = (enum rsr_elem)e;
            return RSRC_OK;
        }
    *scan = start;
    return rsrc_scan_error(scan, "'%s' is no type", word);
}

/* regs v16i32 a b c */
static enum rsrc_status parse_regs_line(struct rsrc_scan *scan, struct reg_list *list) {
    struct rsr_kreg reg;
    if (parse_type(scan, &reg) != RSRC_OK)
        return RSRC_FAILED;
    while (!rsrc_scan_at_line_end(scan)) {
        char name[RSRC_SCAN_NAME_BYTES];
        if (list->n == RSR_NO_KREG - 1u)
            return rsrc_scan_error(scan, "more than %u registers", RSR_NO_KREG - 1u);
        if (rsrc_scan_identifier(scan, "the register", name) != RSRC_OK)
            return RSRC_FAILED;
        if (2 * list->n >= list->table.n_slots)
            grow_table(scan->arena, list);
        uint32_t *slot = find_slot(list, name);
        if (*slot != 0)
            return rsrc_scan_error(scan, "register '%s' is there twice", name);
        list->regs =
            rsrc_arena_grown(scan->arena, list->regs, list->n, &list->capacity, sizeof *list->regs);
        reg.name = rsrc_arena_strdup(scan->arena, name);
        list->regs[list->n++] = reg;
        *slot = list->n;
    }
    return rsrc_scan_line_end(scan);
}

static enum rsrc_status parse_regs(struct rsrc_scan *scan, const char *word, struct reg_list *out) {
    *out = (struct reg_list){0};
    grow_table(scan->arena, out);
    while (rsrc_scan_at_word(scan, word))
        if (rsrc_scan_word(scan, word) != RSRC_OK || parse_regs_line(scan, out) != RSRC_OK)
            return RSRC_FAILED;
    return RSRC_OK;
}

static enum rsrc_status parse_reg(struct rsrc_scan *scan, const struct reg_list *list,
                                  uint16_t *out) {
    char name[RSRC_SCAN_NAME_BYTES];
    const struct rsrc_scan start = *scan;
    if (rsrc_scan_identifier(scan, "the register", name) != RSRC_OK)
        return RSRC_FAILED;
    const uint32_t *slot = find_slot(list, name);
    if (*slot == 0) {
        *scan = start;
        return rsrc_scan_error(scan, "no register is called '%s'", name);
    }
    *out = (uint16_t)(*slot - 1);
    return RSRC_OK;
}

/* ---- operations ------------------------------------------------------------------------------ */

static enum rsrc_status parse_name(struct rsrc_scan *scan, const char *what,
                                   const char *const *names, uint32_t n_names, uint32_t *out) {
    char word[RSRC_SCAN_NAME_BYTES];
    const struct rsrc_scan start = *scan;
    if (rsrc_scan_identifier(scan, what, word) != RSRC_OK)
        return RSRC_FAILED;
    for (*out = 0; *out < n_names; ++*out)
        if (strcmp(word, names[*out]) == 0)
            return RSRC_OK;
    *scan = start;
    const char *meant = rsrc_did_you_mean(word, names, n_names);
    return rsrc_scan_error(scan, "unknown %s%s%s%s", what, meant ? ", did you mean '" : "",
                           meant ? meant : "", meant ? "'?" : "");
}

/* codes[0 + quad*2560 + block*256] */
static enum rsrc_status parse_address(struct rsrc_scan *scan, const struct reg_list *regs,
                                      struct rsr_kop *op) {
    uint32_t buffer;
    if (parse_name(scan, "buffer", rsrc_kbuf_names, RSR_KBUF_COUNT, &buffer) != RSRC_OK ||
        rsrc_scan_symbol(scan, "[") != RSRC_OK ||
        rsrc_scan_i64(scan, "the offset", &op->imm) != RSRC_OK)
        return RSRC_FAILED;
    op->buffer = (uint16_t)buffer;
    for (uint32_t i = 0; rsrc_scan_at_symbol(scan, "+"); i++) {
        if (i == 3)
            return rsrc_scan_error(scan, "an address has at most three terms");
        if (rsrc_scan_symbol(scan, "+") != RSRC_OK ||
            parse_reg(scan, regs, &op->term[i]) != RSRC_OK ||
            rsrc_scan_symbol(scan, "*") != RSRC_OK ||
            rsrc_scan_i64(scan, "the factor", &op->term_scale[i]) != RSRC_OK)
            return RSRC_FAILED;
    }
    return rsrc_scan_symbol(scan, "]");
}

/* As "%.9g" prints it. */
static enum rsrc_status parse_float(struct rsrc_scan *scan, float *out) {
    char word[32] = {0};
    size_t n = 0;
    while (!rsrc_scan_at_line_end(scan) && n + 1 < sizeof word && *scan->at != ' ')
        word[n++] = *scan->at++;
    char *end;
    *out = strtof(word, &end);
    if (n == 0 || strspn(word, "0123456789+-.e") != n || *end != '\0' || !isfinite(*out))
        return rsrc_scan_error(scan, "the constant is no finite number");
    return RSRC_OK;
}

/* Parses what follows the name of an operation. */
static enum rsrc_status parse_operands(struct rsrc_scan *scan, const struct reg_list *regs,
                                       struct rsr_kop *op) {
    uint16_t *const operands[3] = {&op->a, &op->b, &op->c};
    const bool has_address = rsrc_kop_has_address(op->kind);
    if (has_address && parse_address(scan, regs, op) != RSRC_OK)
        return RSRC_FAILED;
    for (uint32_t i = 0; i < rsrc_kop_arity(op->kind); i++)
        if (((i > 0 || has_address) && rsrc_scan_symbol(scan, ",") != RSRC_OK) ||
            parse_reg(scan, regs, operands[i]) != RSRC_OK)
            return RSRC_FAILED;
    if (rsrc_kop_prints_immediate(op->kind))
        return rsrc_scan_symbol(scan, ",") != RSRC_OK ? RSRC_FAILED
                                                      : rsrc_scan_i64(scan, "the number", &op->imm);
    if (op->kind == RSR_KOP_CONST)
        return regs->regs[op->dst].elem == RSR_ELEM_F32
                   ? parse_float(scan, &op->fimm)
                   : rsrc_scan_i64(scan, "the constant", &op->imm);
    if (op->kind == RSR_KOP_PARAM) {
        uint32_t param;
        if (parse_name(scan, "parameter", rsrc_kparam_names, RSR_KPARAM_COUNT, &param) != RSRC_OK)
            return RSRC_FAILED;
        op->imm = param;
    }
    return RSRC_OK;
}

/* v16i32 sum = add a, b */
static enum rsrc_status parse_assignment(struct rsrc_scan *scan, const struct reg_list *regs,
                                         struct rsr_kop *op) {
    struct rsr_kreg type;
    uint32_t kind;
    if (parse_type(scan, &type) != RSRC_OK || parse_reg(scan, regs, &op->dst) != RSRC_OK)
        return RSRC_FAILED;
    if (type.elem != regs->regs[op->dst].elem || type.lanes != regs->regs[op->dst].lanes)
        return rsrc_scan_error(scan, "register '%s' has another type", regs->regs[op->dst].name);
    if (rsrc_scan_symbol(scan, "=") != RSRC_OK ||
        parse_name(scan, "operation", rsrc_kop_names, RSR_KOP_COUNT, &kind) != RSRC_OK)
        return RSRC_FAILED;
    op->kind = (uint16_t)kind;
    if (!rsrc_kop_has_result(kind) || kind == RSR_KOP_LOOP)
        return rsrc_scan_error(scan, "'%s' has no result", rsrc_kop_names[kind]);
    return parse_operands(scan, regs, op);
}

/* quad: loop begin .. end step 1 */
static enum rsrc_status parse_loop(struct rsrc_scan *scan, const struct reg_list *regs,
                                   struct rsr_kop *op) {
    op->kind = RSR_KOP_LOOP;
    if (parse_reg(scan, regs, &op->dst) != RSRC_OK || rsrc_scan_symbol(scan, ":") != RSRC_OK ||
        rsrc_scan_word(scan, "loop") != RSRC_OK || parse_reg(scan, regs, &op->a) != RSRC_OK ||
        rsrc_scan_symbol(scan, "..") != RSRC_OK || parse_reg(scan, regs, &op->b) != RSRC_OK ||
        rsrc_scan_word(scan, "step") != RSRC_OK)
        return RSRC_FAILED;
    return rsrc_scan_i64(scan, "the step", &op->imm);
}

static enum rsrc_status parse_if(struct rsrc_scan *scan, const struct reg_list *regs,
                                 struct rsr_kop *op) {
    op->kind = RSR_KOP_IF;
    if (rsrc_scan_word(scan, "if") != RSRC_OK || parse_reg(scan, regs, &op->a) != RSRC_OK ||
        rsrc_scan_symbol(scan, "<") != RSRC_OK)
        return RSRC_FAILED;
    return parse_reg(scan, regs, &op->b);
}

/* A line that begins with a register and a colon. */
static bool at_loop(const struct rsrc_scan *scan) {
    struct rsrc_scan ahead = *scan;
    while (ahead.at < ahead.end && ((*ahead.at >= 'a' && *ahead.at <= 'z') ||
                                    (*ahead.at >= '0' && *ahead.at <= '9') || *ahead.at == '_'))
        ahead.at++;
    return rsrc_scan_at_symbol(&ahead, ":");
}

static enum rsrc_status parse_op(struct rsrc_scan *scan, const struct reg_list *regs,
                                 struct rsr_kop *op) {
    *op = (struct rsr_kop){.dst = RSR_NO_KREG,
                           .a = RSR_NO_KREG,
                           .b = RSR_NO_KREG,
                           .c = RSR_NO_KREG,
                           .term = {RSR_NO_KREG, RSR_NO_KREG, RSR_NO_KREG}};
    if (rsrc_scan_at_symbol(scan, ";")) {
        op->kind = RSR_KOP_COMMENT;
        return rsrc_scan_symbol(scan, ";") != RSRC_OK
                   ? RSRC_FAILED
                   : rsrc_scan_string(scan, "the comment", &op->text);
    }
    if (at_loop(scan))
        return parse_loop(scan, regs, op);
    if (rsrc_scan_at_word(scan, "if"))
        return parse_if(scan, regs, op);
    for (uint32_t kind = RSR_KOP_ELSE; kind < RSR_KOP_COUNT; kind++)
        if (!rsrc_kop_has_result(kind) && rsrc_scan_at_word(scan, rsrc_kop_names[kind])) {
            op->kind = (uint16_t)kind;
            return rsrc_scan_word(scan, rsrc_kop_names[kind]) != RSRC_OK
                       ? RSRC_FAILED
                       : parse_operands(scan, regs, op);
        }
    return parse_assignment(scan, regs, op);
}

static bool at_end_of_kernel(const struct rsrc_scan *scan) {
    struct rsrc_scan ahead = *scan;
    if (!rsrc_scan_at_word(&ahead, "end"))
        return false;
    ahead.at += strlen("end");
    return rsrc_scan_at_word(&ahead, "kernel");
}

static void add_place(struct rsrc_scan *scan, struct place_list *places) {
    places->at =
        rsrc_arena_grown(scan->arena, places->at, places->n, &places->capacity, sizeof *places->at);
    (void)rsrc_scan_at_line_end(scan); /* skips blanks */
    places->at[places->n++] = scan->at;
}

/* Parses operations up to the next body or the end of the kernel. */
static enum rsrc_status parse_ops(struct rsrc_scan *scan, const struct reg_list *regs,
                                  struct place_list *places, struct rsr_kop **out,
                                  uint32_t *n_out) {
    struct op_list list = {0};
    while (!at_end_of_kernel(scan) && !rsrc_scan_at_word(scan, "body")) {
        if (rsrc_scan_at_end(scan))
            return rsrc_scan_error(scan, "the kernel is cut off: 'end kernel' is missing");
        list.ops =
            rsrc_arena_grown(scan->arena, list.ops, list.n, &list.capacity, sizeof *list.ops);
        add_place(scan, places);
        if (parse_op(scan, regs, &list.ops[list.n++]) != RSRC_OK ||
            rsrc_scan_line_end(scan) != RSRC_OK)
            return RSRC_FAILED;
    }
    add_place(scan, places);
    *out = list.ops;
    *n_out = list.n;
    return RSRC_OK;
}

/* ---- kernels --------------------------------------------------------------------------------- */

static enum rsrc_status parse_u32(struct rsrc_scan *scan, const char *what, uint32_t min,
                                  uint32_t *out) {
    int64_t value;
    if (rsrc_scan_i64(scan, what, &value) != RSRC_OK)
        return RSRC_FAILED;
    if (value < min || value > INT32_MAX)
        return rsrc_scan_error(scan, "%s is %" PRId64 ", not %" PRIu32 "..%d", what, value, min,
                               INT32_MAX);
    *out = (uint32_t)value;
    return RSRC_OK;
}

/* kernel rsr_l0_q: dot, 64 x 512, raw, 4 tiles of 16 rows, 64 computed, 0 bytes of scratch */
static enum rsrc_status parse_title_line(struct rsrc_scan *scan, struct rsr_kernel *k) {
    char symbol[RSRC_SCAN_NAME_BYTES];
    uint32_t variant, epilogue, scratch_bytes;
    if (rsrc_scan_word(scan, "kernel") != RSRC_OK ||
        rsrc_scan_identifier(scan, "the symbol", symbol) != RSRC_OK ||
        rsrc_scan_symbol(scan, ":") != RSRC_OK ||
        parse_name(scan, "variant", rsrc_kvariant_names, RSR_VARIANT_COUNT, &variant) != RSRC_OK ||
        rsrc_scan_symbol(scan, ",") != RSRC_OK || parse_u32(scan, "rows", 1, &k->rows) != RSRC_OK ||
        rsrc_scan_symbol(scan, "x") != RSRC_OK || parse_u32(scan, "cols", 1, &k->cols) != RSRC_OK ||
        rsrc_scan_symbol(scan, ",") != RSRC_OK ||
        parse_name(scan, "epilogue", rsrc_kepilogue_names, RSRC_N_EPILOGUES, &epilogue) !=
            RSRC_OK ||
        rsrc_scan_symbol(scan, ",") != RSRC_OK ||
        parse_u32(scan, "the number of tiles", 1, &k->n_tiles) != RSRC_OK ||
        rsrc_scan_word(scan, "tiles") != RSRC_OK || rsrc_scan_word(scan, "of") != RSRC_OK ||
        parse_u32(scan, "the rows of a tile", 1, &k->tile_rows) != RSRC_OK ||
        rsrc_scan_symbol(scan, "rows,") != RSRC_OK ||
        parse_u32(scan, "the computed rows", 1, &k->computed_rows) != RSRC_OK ||
        rsrc_scan_symbol(scan, "computed,") != RSRC_OK ||
        parse_u32(scan, "scratch", 0, &scratch_bytes) != RSRC_OK ||
        rsrc_scan_word(scan, "bytes") != RSRC_OK || rsrc_scan_word(scan, "of") != RSRC_OK ||
        rsrc_scan_word(scan, "scratch") != RSRC_OK)
        return RSRC_FAILED;
    k->symbol = rsrc_arena_strdup(scan->arena, symbol);
    k->variant = (enum rsr_variant)variant;
    k->epilogue = (enum rsr_epilogue)epilogue;
    k->scratch_bytes = scratch_bytes;
    return rsrc_scan_line_end(scan);
}

static enum rsrc_status parse_string_line(struct rsrc_scan *scan, const char *word,
                                          const char **out) {
    if (rsrc_scan_word(scan, word) != RSRC_OK || rsrc_scan_string(scan, word, out) != RSRC_OK)
        return RSRC_FAILED;
    return rsrc_scan_line_end(scan);
}

/* target "avx512" input i8 bodies 0 */
static enum rsrc_status parse_target_line(struct rsrc_scan *scan, struct rsr_parsed_kernel *out) {
    uint32_t input;
    if (rsrc_scan_word(scan, "target") != RSRC_OK ||
        rsrc_scan_string(scan, "the target's name", &out->target) != RSRC_OK ||
        rsrc_scan_word(scan, "input") != RSRC_OK ||
        parse_name(scan, "input", rsrc_kinput_names, RSRC_N_INPUTS, &input) != RSRC_OK ||
        rsrc_scan_word(scan, "bodies") != RSRC_OK ||
        parse_u32(scan, "the number of bodies", 0, &out->kernel.n_bodies) != RSRC_OK)
        return RSRC_FAILED;
    if (out->kernel.n_bodies > rsrc_scan_bytes_left(scan) / strlen("body 0\n"))
        return rsrc_scan_error(scan, "%" PRIu32 " bodies do not follow", out->kernel.n_bodies);
    out->kernel.input = (enum rsr_input)input;
    out->kernel.extern_bodies = rsrc_scan_at_word(scan, "extern");
    if (out->kernel.extern_bodies && rsrc_scan_word(scan, "extern") != RSRC_OK)
        return RSRC_FAILED;
    return rsrc_scan_line_end(scan);
}

static enum rsrc_status parse_bodies(struct rsrc_scan *scan, const struct reg_list *regs,
                                     struct place_list *places, struct rsr_kernel *kernel) {
    kernel->bodies = RSRC_NEW_ARRAY(scan->arena, kernel->n_bodies, struct rsr_kbody);
    for (uint32_t b = 0; b < kernel->n_bodies; b++) {
        uint32_t number;
        if (rsrc_scan_word(scan, "body") != RSRC_OK ||
            rsrc_scan_u32(scan, "the body's number", b, b, &number) != RSRC_OK ||
            rsrc_scan_line_end(scan) != RSRC_OK ||
            parse_ops(scan, regs, places, &kernel->bodies[b].ops, &kernel->bodies[b].n_ops) !=
                RSRC_OK)
            return RSRC_FAILED;
    }
    return RSRC_OK;
}

/* Checks what no single line shows. The kernel begins at `start`. */
static enum rsrc_status verify(const struct rsrc_scan *start, const struct place_list *places,
                               const struct rsr_kernel *kernel) {
    const struct rsrc_kernel_problem problem = rsrc_find_kernel_problem(kernel);
    if (problem.what == NULL)
        return RSRC_OK;
    struct rsrc_scan scan = *start;
    if (problem.op != RSRC_NO_OP) {
        uint32_t place = problem.op;
        if (problem.body != RSRC_NO_BODY)
            place += kernel->n_ops + 1;
        for (uint32_t b = 0; problem.body != RSRC_NO_BODY && b < problem.body; b++)
            place += kernel->bodies[b].n_ops + 1;
        rsrc_scan_advance(&scan, places->at[place]);
    }
    return rsrc_scan_error(&scan, "%s", problem.what);
}

static enum rsrc_status parse_kernel(struct rsrc_scan *scan, void *record) {
    struct rsr_parsed_kernel *out = record;
    struct rsr_kernel *kernel = &out->kernel;
    struct reg_list regs, body_regs;
    struct place_list places = {0};
    const struct rsrc_scan start = *scan;
    *out = (struct rsr_parsed_kernel){0};
    if (parse_title_line(scan, kernel) != RSRC_OK ||
        parse_string_line(scan, "key", &kernel->key) != RSRC_OK ||
        parse_string_line(scan, "title", &kernel->title) != RSRC_OK ||
        parse_string_line(scan, "reason", &kernel->reason) != RSRC_OK ||
        parse_target_line(scan, out) != RSRC_OK || parse_regs(scan, "regs", &regs) != RSRC_OK ||
        parse_regs(scan, "body_regs", &body_regs) != RSRC_OK ||
        rsrc_scan_word(scan, "code") != RSRC_OK || rsrc_scan_line_end(scan) != RSRC_OK ||
        parse_ops(scan, &regs, &places, &kernel->ops, &kernel->n_ops) != RSRC_OK ||
        parse_bodies(scan, &body_regs, &places, kernel) != RSRC_OK ||
        rsrc_scan_word(scan, "end") != RSRC_OK || rsrc_scan_word(scan, "kernel") != RSRC_OK ||
        rsrc_scan_line_end(scan) != RSRC_OK)
        return RSRC_FAILED;
    kernel->regs = regs.regs;
    kernel->n_regs = regs.n;
    kernel->body_regs = body_regs.regs;
    kernel->n_body_regs = body_regs.n;
    return verify(&start, &places, kernel);
}

enum rsrc_status rsrc_parse_kernels(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                    const char *file, const char *text, uint64_t size_bytes,
                                    struct rsr_parsed_kernel **out, uint32_t *n_out) {
    static const struct rsrc_text_form FORM = {"kernel-text", "kernels", "1", sizeof **out,
                                               parse_kernel};
    void *records;
    if (rsrc_scan_text(diag, arena, file, text, size_bytes, &FORM, &records, n_out) != RSRC_OK)
        return RSRC_FAILED;
    *out = records;
    return RSRC_OK;
}
