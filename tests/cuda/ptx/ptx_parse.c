/* ptx_parse.c - text to kernels: declarations, statements, operands, labels. */
#include "ptx_parse.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void ptx_fail(struct ptx_error *error, uint32_t line, const char *format, ...) {
    if (error->text[0] != '\0')
        return;
    error->line = line;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error->text, sizeof error->text, format, arguments);
    va_end(arguments);
}

bool ptx_refuse(struct ptx_parser *p, const char *format, ...) {
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    ptx_fail(p->error, p->line, "%s", text);
    return false;
}

/* ---- characters and words -------------------------------------------------------------------- */

static void skip_line(struct ptx_parser *p) {
    while (p->at < p->end && *p->at != '\n')
        p->at++;
}

static void skip_space(struct ptx_parser *p) {
    for (; p->at < p->end; p->at++) {
        if (*p->at == '/' && p->end - p->at > 1 && p->at[1] == '/')
            skip_line(p);
        if (p->at == p->end ||
            (*p->at != ' ' && *p->at != '\t' && *p->at != '\r' && *p->at != '\n'))
            return;
        p->line += *p->at == '\n';
    }
}

/* The next character that is not a space, or NUL. */
static char peek(struct ptx_parser *p) {
    skip_space(p);
    return p->at < p->end ? *p->at : '\0';
}

static bool accept(struct ptx_parser *p, char c) {
    if (c == '\0' || peek(p) != c)
        return false;
    p->at++;
    return true;
}

static bool expect(struct ptx_parser *p, char c) {
    if (accept(p, c))
        return true;
    const char found = peek(p);
    return ptx_refuse(p, "'%c' expected, not '%c'", c, found >= ' ' && found < 127 ? found : '?');
}

static bool is_word(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '$' || c == '%' || c == '.';
}

/* Reads a word of letters, digits, _ $ % . and "::" into the arena. NULL, after an error: there is
 * no word. */
static const char *take_word(struct ptx_parser *p) {
    skip_space(p);
    const char *begin = p->at;
    while (p->at < p->end &&
           (is_word(*p->at) || (p->end - p->at > 2 && p->at[0] == ':' && p->at[1] == ':')))
        p->at += *p->at == ':' ? 2 : 1;
    if (p->at == begin || p->at - begin > 200) {
        ptx_refuse(p, "a word expected");
        return NULL;
    }
    return rsrc_arena_strndup(p->arena, begin, (size_t)(p->at - begin));
}

/* Reads a number up to the end of the word. False: it is not a number. */
static bool read_integer(const char *word, uint64_t *value) {
    if (word[0] < '0' || word[0] > '9')
        return false;
    const int base = word[0] != '0' ? 10 : word[1] == 'x' || word[1] == 'X' ? 16 : 8;
    char *end;
    errno = 0;
    *value = strtoull(word, &end, base);
    return errno == 0 && (*end == '\0' || strcmp(end, "U") == 0);
}

static bool take_number(struct ptx_parser *p, uint64_t most, uint32_t *out) {
    const char *word = take_word(p);
    uint64_t value;
    if (word == NULL)
        return false;
    if (!read_integer(word, &value) || value > most)
        return ptx_refuse(p, "a number of at most %llu expected, not '%s'",
                          (unsigned long long)most, word);
    *out = (uint32_t)value;
    return true;
}

/* Bits of ".b32"; 0: no type of a variable. */
static uint32_t bits_of(const char *type) {
    static const char *const NAMES[] = {".pred", ".b8",  ".u8",  ".s8",  ".b16",
                                        ".u16",  ".s16", ".b32", ".u32", ".s32",
                                        ".f32",  ".b64", ".u64", ".s64", ".f64"};
    static const uint8_t BITS[] = {1, 8, 8, 8, 16, 16, 16, 32, 32, 32, 32, 64, 64, 64, 64};
    for (size_t i = 0; i < sizeof BITS; i++)
        if (strcmp(type, NAMES[i]) == 0)
            return BITS[i];
    return 0;
}

/* ---- declarations ---------------------------------------------------------------------------- */

/* .b32 %a, %b<10>; */
static bool parse_registers(struct ptx_parser *p) {
    const char *type = take_word(p);
    const uint32_t bits = type != NULL ? bits_of(type) : 0;
    if (bits == 0 || bits == 8)
        return ptx_refuse(p, "no registers are of type '%s'", type != NULL ? type : "");
    do {
        const char *name = take_word(p);
        uint32_t count = 0;
        if (name == NULL ||
            (accept(p, '<') && (!take_number(p, PTX_MAX_REGISTERS, &count) || !expect(p, '>'))))
            return false;
        const uint32_t first = p->kernel->n_registers, n = count != 0 ? count : 1;
        if (p->n_registers == PTX_MAX_DECLARED || first + n > PTX_MAX_REGISTERS)
            return ptx_refuse(p, "a thread has at most %u registers here", PTX_MAX_REGISTERS);
        p->registers[p->n_registers++] =
            (struct ptx_declared){.name = name, .first = first, .count = count, .bits = bits};
        memset(p->register_bits + first, (int)bits, n);
        p->kernel->n_registers += n;
    } while (accept(p, ','));
    return expect(p, ';');
}

/* [.align 16] .b8 name[16]; what `.shared` and `.param` declare. */
static bool parse_variable(struct ptx_parser *p, const char **name, uint32_t *align,
                           uint32_t *size_bytes) {
    const char *word = take_word(p);
    *align = 0;
    /* .ptr .global .align 16: what a parameter points to. */
    const uint32_t pointer_bits = word != NULL ? bits_of(word) : 0;
    if (word != NULL && strcmp(word, ".align") == 0) {
        if (!take_number(p, 128, align))
            return false;
        word = take_word(p);
    }
    uint32_t bits = word != NULL ? bits_of(word) : 0;
    if (bits < 8)
        return ptx_refuse(p, "no variables are of type '%s'", word != NULL ? word : "");
    word = take_word(p);
    if (pointer_bits == 64 && word != NULL && strcmp(word, ".ptr") == 0) {
        uint32_t pointed = 0;
        while ((word = take_word(p)) != NULL && word[0] == '.')
            if (strcmp(word, ".align") == 0 && !take_number(p, 1u << 20, &pointed))
                return false;
    }
    uint32_t n = 1;
    if (word == NULL || (accept(p, '[') && (!take_number(p, 1u << 20, &n) || !expect(p, ']'))))
        return false;
    if (*align == 0)
        *align = bits / 8;
    if ((*align & (*align - 1)) != 0)
        return ptx_refuse(p, ".align %u is no power of two", *align);
    *name = word;
    *size_bytes = n * (bits / 8);
    return true;
}

#define SHARED_LIMIT (48u << 10) /* bytes for a block whose kernel does not ask for more */

static bool parse_shared(struct ptx_parser *p, uint32_t *used) {
    struct ptx_declared *variable = &p->shared[p->n_shared];
    uint32_t align = 0, size_bytes = 0;
    if (p->n_shared == PTX_MAX_DECLARED)
        return ptx_refuse(p, "too many variables");
    if (!parse_variable(p, &variable->name, &align, &size_bytes) || !expect(p, ';'))
        return false;
    const uint32_t at = (*used + align - 1) / align * align;
    if (at + size_bytes > SHARED_LIMIT)
        return ptx_refuse(p, "a block has at most %u bytes of shared memory", SHARED_LIMIT);
    variable->address = PTX_SHARED_BASE + at;
    p->n_shared++;
    *used = at + size_bytes;
    return true;
}

static bool parse_parameters(struct ptx_parser *p) {
    struct ptx_kernel *kernel = p->kernel;
    kernel->parameters = RSRC_NEW_ARRAY(p->arena, PTX_MAX_PARAMETERS, struct ptx_parameter);
    if (accept(p, ')'))
        return true;
    do {
        struct ptx_parameter *parameter = &kernel->parameters[kernel->n_parameters];
        uint32_t align = 0;
        const char *word = take_word(p);
        if (kernel->n_parameters == PTX_MAX_PARAMETERS || word == NULL ||
            strcmp(word, ".param") != 0)
            return ptx_refuse(p, "at most %u times .param expected", PTX_MAX_PARAMETERS);
        if (!parse_variable(p, &parameter->name, &align, &parameter->size_bytes))
            return false;
        parameter->offset = (kernel->parameter_bytes + align - 1) / align * align;
        kernel->parameter_bytes = parameter->offset + parameter->size_bytes;
        if (kernel->parameter_bytes > 4096)
            return ptx_refuse(p, "parameters have at most 4096 bytes");
        kernel->n_parameters++;
    } while (accept(p, ','));
    return expect(p, ')');
}

/* ---- operands -------------------------------------------------------------------------------- */

static bool find_register(const struct ptx_parser *p, const char *word, uint32_t *out) {
    static const char *const SPECIALS[] = {
#define X(id, name) name,
        PTX_SPECIALS(X)
#undef X
    };
    for (uint32_t i = 0; i < PTX_SPECIAL_COUNT; i++)
        if (strcmp(word, SPECIALS[i]) == 0) {
            *out = i;
            return true;
        }
    for (uint32_t i = 0; i < p->n_registers; i++) {
        const struct ptx_declared *d = &p->registers[i];
        const size_t n = strlen(d->name);
        uint64_t number = 0;
        if (strncmp(word, d->name, n) != 0 || (word[n] == '\0') != (d->count == 0))
            continue;
        if (d->count != 0 && (strspn(word + n, "0123456789") != strlen(word + n) ||
                              (number = strtoull(word + n, NULL, 10)) >= d->count))
            continue;
        *out = d->first + (uint32_t)number;
        return true;
    }
    return false;
}

/* 0f3f800000, 0d3ff0000000000000. */
static bool read_bits(const char *word, struct ptx_word *out) {
    if (word[0] != '0' || strchr("fFdD", word[1]) == NULL || word[1] == '\0')
        return false;
    const bool wide = word[1] == 'd' || word[1] == 'D';
    char *end;
    out->kind = wide ? PTX_BITS64 : PTX_BITS32;
    out->value = strtoull(word + 2, &end, 16);
    return *end == '\0' && end - word == (wide ? 18 : 10);
}

static bool find_variable(const struct ptx_parser *p, const char *word, struct ptx_word *out) {
    for (uint32_t i = 0; i < p->n_shared; i++)
        if (strcmp(word, p->shared[i].name) == 0) {
            out->kind = PTX_INTEGER;
            out->value = p->shared[i].address;
            return true;
        }
    for (uint32_t i = 0; i < p->kernel->n_parameters; i++)
        if (strcmp(word, p->kernel->parameters[i].name) == 0) {
            out->kind = PTX_PARAMETER;
            out->value = i;
            return true;
        }
    return false;
}

static bool parse_word(struct ptx_parser *p, bool is_address) {
    if (p->n_words == PTX_MAX_OPERANDS)
        return ptx_refuse(p, "%s has too many operands", p->opcode);
    struct ptx_word *out = &p->words[p->n_words];
    *out = (struct ptx_word){.group = p->n_groups, .is_address = is_address};
    const bool negative = accept(p, '-');
    const char *word = take_word(p);
    if (word == NULL)
        return false;
    if (read_integer(word, &out->value)) {
        out->kind = PTX_INTEGER;
        out->is_negative = negative && out->value != 0;
        if (out->is_negative && out->value > UINT64_C(1) << 63)
            return ptx_refuse(p, "-%s is too small", word);
        out->value = negative ? 0 - out->value : out->value;
    } else if (negative) {
        return ptx_refuse(p, "'-%s' is no number", word);
    } else if (find_register(p, word, &out->register_)) {
        out->kind = PTX_REGISTER;
    } else if (!read_bits(word, out) && !find_variable(p, word, out)) {
        out->kind = PTX_LABEL;
        out->label = word;
    }
    p->n_words++;
    return true;
}

static bool parse_offset(struct ptx_parser *p, struct ptx_word *word) {
    const bool plus = accept(p, '+'), minus = accept(p, '-');
    uint32_t offset = 0;
    if ((plus || minus) && !take_number(p, INT32_MAX, &offset))
        return false;
    word->offset = minus ? 0 - (uint64_t)offset : offset;
    return true;
}

static bool parse_operand(struct ptx_parser *p) {
    if (accept(p, '['))
        return parse_word(p, true) && parse_offset(p, &p->words[p->n_words - 1]) && expect(p, ']');
    if (accept(p, '{')) {
        do
            if (!parse_word(p, false))
                return false;
        while (accept(p, ','));
        return expect(p, '}');
    }
    return parse_word(p, false) && (!accept(p, '|') || parse_word(p, false));
}

static bool parse_operands(struct ptx_parser *p) {
    p->n_words = p->n_groups = 0;
    if (accept(p, ';'))
        return true;
    do {
        if (!parse_operand(p))
            return false;
        p->n_groups++;
    } while (accept(p, ','));
    return expect(p, ';');
}

int32_t ptx_constant(struct ptx_parser *p, uint64_t value) {
    /* Reads the modules' next statement. */
    for (uint32_t i = p->n_constants; i > 0 && i + 64 > p->n_constants; i--)
        if (p->constants[i - 1][0] == value)
            return ~(int32_t)(i - 1);
    p->constants = rsrc_arena_grown(p->arena, p->constants, p->n_constants, &p->constant_capacity,
                                    sizeof(ptx_row));
    for (uint32_t i = 0; i < PTX_LANES; i++)
        p->constants[p->n_constants][i] = value;
    return ~(int32_t)p->n_constants++;
}

/* ---- statements ------------------------------------------------------------------------------ */

static uint32_t number_opcode(struct ptx_parser *p, const char *name) {
    struct ptx_module *m = p->module;
    for (uint32_t i = 0; i < m->n_opcodes; i++)
        if (strcmp(m->opcodes[i], name) == 0)
            return i;
    m->opcodes = rsrc_arena_grown(p->arena, m->opcodes, m->n_opcodes, &p->opcode_capacity,
                                  sizeof *m->opcodes);
    m->opcodes[m->n_opcodes] = name;
    return m->n_opcodes++;
}

static struct ptx_instruction *add_instruction(struct ptx_parser *p) {
    struct ptx_kernel *kernel = p->kernel;
    kernel->code = rsrc_arena_grown(p->arena, kernel->code, kernel->n_instructions,
                                    &p->instruction_capacity, sizeof *kernel->code);
    struct ptx_instruction *in = &kernel->code[kernel->n_instructions++];
    *in = (struct ptx_instruction){.predicate = PTX_NO_OPERAND, .line = p->line};
    return in;
}

static void add_label(struct ptx_parser *p, struct ptx_label **labels, uint32_t *n,
                      uint32_t *capacity, struct ptx_label label) {
    *labels = rsrc_arena_grown(p->arena, *labels, *n, capacity, sizeof **labels);
    (*labels)[(*n)++] = label;
}

static bool parse_instruction(struct ptx_parser *p, const char *opcode, int32_t predicate,
                              bool negated) {
    struct ptx_instruction *in = add_instruction(p);
    in->predicate = predicate;
    in->negated = negated;
    p->opcode = opcode;
    if (!parse_operands(p) || !ptx_decode(p, in))
        return false;
    in->name = number_opcode(p, opcode);
    if (in->kind == PTX_BRANCH)
        add_label(p, &p->branches, &p->n_branches, &p->branch_capacity,
                  (struct ptx_label){p->words[0].label, p->kernel->n_instructions - 1, in->line});
    return true;
}

static bool parse_predicated(struct ptx_parser *p) {
    const bool negated = accept(p, '!');
    const char *word = take_word(p);
    uint32_t number = 0;
    if (word == NULL)
        return false;
    if (!find_register(p, word, &number) || p->register_bits[number] != 1)
        return ptx_refuse(p, "'%s' is no predicate", word);
    const char *opcode = take_word(p);
    return opcode != NULL && parse_instruction(p, opcode, (int32_t)number, negated);
}

static bool parse_statement(struct ptx_parser *p) {
    if (accept(p, '@'))
        return parse_predicated(p);
    const char *word = take_word(p);
    if (word == NULL)
        return false;
    if (accept(p, ':')) {
        add_label(p, &p->labels, &p->n_labels, &p->label_capacity,
                  (struct ptx_label){word, p->kernel->n_instructions, p->line});
        return true;
    }
    if (strcmp(word, ".reg") == 0)
        return parse_registers(p);
    if (strcmp(word, ".shared") == 0)
        return parse_shared(p, &p->kernel->shared_bytes);
    if (strcmp(word, ".pragma") == 0) { /* advice to the assembler: "nounroll" */
        while (p->at < p->end && *p->at != ';' && *p->at != '\n')
            p->at++;
        return expect(p, ';');
    }
    if (word[0] == '.')
        return ptx_refuse(p, "%s is not understood", word);
    return parse_instruction(p, word, PTX_NO_OPERAND, false);
}

static int compare_labels(const void *a, const void *b) {
    return strcmp(((const struct ptx_label *)a)->name, ((const struct ptx_label *)b)->name);
}

static bool resolve_branches(struct ptx_parser *p) {
    if (p->n_labels != 0)
        qsort(p->labels, p->n_labels, sizeof *p->labels, compare_labels);
    for (uint32_t i = 1; i < p->n_labels; i++)
        if (strcmp(p->labels[i - 1].name, p->labels[i].name) == 0) {
            p->line = p->labels[i].line;
            return ptx_refuse(p, "there are two labels %s", p->labels[i].name);
        }
    for (uint32_t i = 0; i < p->n_branches; i++) {
        const struct ptx_label *label = p->n_labels == 0
                                            ? NULL
                                            : bsearch(&p->branches[i], p->labels, p->n_labels,
                                                      sizeof *p->labels, compare_labels);
        p->line = p->branches[i].line;
        if (label == NULL)
            return ptx_refuse(p, "there is no label %s", p->branches[i].name);
        p->kernel->code[p->branches[i].at].target = label->at;
    }
    return true;
}

static bool parse_body(struct ptx_parser *p) {
    for (uint32_t depth = 1; depth != 0;) {
        if (peek(p) == '\0')
            return ptx_refuse(p, "the text ends within %s", p->kernel->name);
        if (accept(p, '{'))
            depth++;
        else if (accept(p, '}'))
            depth--;
        else if (!parse_statement(p))
            return false;
    }
    struct ptx_instruction *end = add_instruction(p);
    end->kind = PTX_EXIT;
    end->name = number_opcode(p, "ret");
    p->kernel->constants = p->constants;
    return resolve_branches(p);
}

/* ---- kernels --------------------------------------------------------------------------------- */

/* Directives such as .maxntid 64, 1, 1, up to the body. */
static bool parse_tuning(struct ptx_parser *p) {
    while (peek(p) == '.') {
        const char *word = take_word(p);
        uint32_t sizes[3] = {1, 1, 1}, n = 0;
        if (word == NULL)
            return false;
        do
            if (n == 3 || !take_number(p, 1u << 16, &sizes[n++]))
                return ptx_refuse(p, "%s: one to three numbers expected", word);
        while (accept(p, ','));
        if (strcmp(word, ".maxntid") == 0 || strcmp(word, ".reqntid") == 0) {
            memcpy(p->kernel->max_threads, sizes, sizeof sizes);
            p->kernel->exact_threads = word[1] == 'r';
        } else if (strcmp(word, ".minnctapersm") != 0 && strcmp(word, ".maxnreg") != 0) {
            return ptx_refuse(p, "%s is not understood", word);
        }
    }
    return true;
}

static void begin_kernel(struct ptx_parser *p, const char *name) {
    struct ptx_module *m = p->module;
    m->kernels = rsrc_arena_grown(p->arena, m->kernels, m->n_kernels, &p->kernel_capacity,
                                  sizeof *m->kernels);
    p->kernel = &m->kernels[m->n_kernels++];
    *p->kernel = (struct ptx_kernel){
        .name = name, .n_registers = PTX_SPECIAL_COUNT, .shared_bytes = p->module_shared_bytes};
    memset(p->register_bits, 32, PTX_SPECIAL_COUNT);
    p->n_registers = 0;
    p->n_shared = p->n_module_shared;
    p->constants = NULL;
    p->labels = p->branches = NULL;
    p->n_constants = p->constant_capacity = p->instruction_capacity = 0;
    p->n_labels = p->label_capacity = p->n_branches = p->branch_capacity = 0;
}

static bool parse_kernel(struct ptx_parser *p) {
    const char *name = take_word(p);
    if (name == NULL || !expect(p, '('))
        return false;
    if (ptx_find_kernel(p->module, name) != NULL)
        return ptx_refuse(p, "there are two kernels %s", name);
    begin_kernel(p, name);
    return parse_parameters(p) && parse_tuning(p) && expect(p, '{') && parse_body(p);
}

static bool parse_directive(struct ptx_parser *p, const char *word) {
    if (strcmp(word, ".version") == 0) {
        skip_line(p);
        return true;
    }
    if (strcmp(word, ".target") == 0) {
        p->module->target = take_word(p);
        return p->module->target != NULL;
    }
    if (strcmp(word, ".address_size") == 0) {
        uint32_t bits = 0;
        return take_number(p, 64, &bits) &&
               (bits == 64 || ptx_refuse(p, "addresses have 64 bits here"));
    }
    if (strcmp(word, ".visible") == 0)
        word = take_word(p);
    if (word != NULL && strcmp(word, ".entry") == 0)
        return parse_kernel(p);
    if (word != NULL && strcmp(word, ".shared") == 0) {
        const bool right = parse_shared(p, &p->module_shared_bytes);
        p->n_module_shared = p->n_shared;
        return right;
    }
    return ptx_refuse(p, "%s is not understood", word != NULL ? word : "");
}

bool ptx_parse(struct rsrc_arena *arena, const char *text, size_t size_bytes,
               struct ptx_module *out, struct ptx_error *error) {
    struct ptx_parser *p = RSRC_NEW(arena, struct ptx_parser);
    *out = (struct ptx_module){0};
    *error = (struct ptx_error){0};
    *p = (struct ptx_parser){.arena = arena,
                             .at = text,
                             .end = text + size_bytes,
                             .line = 1,
                             .error = error,
                             .module = out,
                             .register_bits = rsrc_arena_alloc(arena, PTX_MAX_REGISTERS)};
    while (peek(p) != '\0') {
        p->n_shared = p->n_module_shared;
        const char *word = take_word(p);
        if (word == NULL || !parse_directive(p, word))
            return false;
    }
    return p->at == p->end || ptx_refuse(p, "a NUL in the text");
}

const struct ptx_kernel *ptx_find_kernel(const struct ptx_module *module, const char *name) {
    for (uint32_t i = 0; i < module->n_kernels; i++)
        if (strcmp(module->kernels[i].name, name) == 0)
            return &module->kernels[i];
    return NULL;
}
