/* ptx_decode.c - makes instructions of opcodes, and checks that the operands fit the opcode. */
#include "ptx_parse.h"

#include <string.h>

static bool not_known(struct ptx_parser *p) {
    return ptx_refuse(p, "%s is not understood", p->opcode);
}

/* ---- operands -------------------------------------------------------------------------------- */

static bool bad_operand(struct ptx_parser *p, uint32_t w, const char *what) {
    return ptx_refuse(p, "%s: operand %u is no %s", p->opcode, w + 1, what);
}

/* The groups of the words: "0123" for four single operands, "00001" for {a, b, c, d}, e. */
static bool have_shape(struct ptx_parser *p, const char *groups, const char *addresses) {
    bool right = strlen(groups) == p->n_words;
    for (uint32_t i = 0; right && i < p->n_words; i++)
        right = p->words[i].group == (uint32_t)(groups[i] - '0') &&
                p->words[i].is_address == (strchr(addresses, groups[i]) != NULL);
    return right || ptx_refuse(p, "%s has other operands than these", p->opcode);
}

static uint32_t register_bits(const struct ptx_parser *p, uint32_t w) {
    return p->words[w].kind == PTX_REGISTER ? p->register_bits[p->words[w].register_] : 0;
}

static void append(struct ptx_instruction *in, int32_t operand) {
    in->operand[in->n_operands++] = operand;
}

/* Whether the word is a register of this many bits; with `wider`, also of more bits. Predicates are
 * not. */
static bool take_register(struct ptx_parser *p, struct ptx_instruction *in, uint32_t w,
                          uint32_t bits, bool wider) {
    const uint32_t found = register_bits(p, w);
    if (found != bits && !(wider && found > bits && found >= 16))
        return bad_operand(p, w, "register of the type");
    append(in, (int32_t)p->words[w].register_);
    return true;
}

static bool take_result(struct ptx_parser *p, struct ptx_instruction *in, uint32_t w, uint32_t bits,
                        bool wider) {
    if (p->words[w].kind == PTX_REGISTER && p->words[w].register_ < PTX_SPECIAL_COUNT)
        return bad_operand(p, w, "register that can be written");
    return take_register(p, in, w, bits, wider);
}

static bool integer_fits(const struct ptx_word *word, uint32_t bits) {
    if (bits == 64)
        return true;
    return word->is_negative ? word->value >= 0 - (UINT64_C(1) << (bits - 1))
                             : word->value >> bits == 0;
}

static bool take_source(struct ptx_parser *p, struct ptx_instruction *in, uint32_t w,
                        enum ptx_type type) {
    const struct ptx_word *word = &p->words[w];
    const uint32_t bits = ptx_type_bits(type);
    const bool is_float = type == PTX_F32 || type == PTX_F64;
    const bool is_narrow = bits == 8; /* no register has 8 bits */
    if (word->kind == PTX_REGISTER)
        return take_register(p, in, w, bits, is_narrow);
    if (word->kind == PTX_INTEGER && !is_float && bits == 1)
        append(in, ptx_constant(p, word->value != 0));
    else if (word->kind == PTX_INTEGER && !is_float && integer_fits(word, bits))
        append(in, ptx_constant(p, bits == 64 ? word->value
                                              : word->value & ((UINT64_C(1) << bits) - 1)));
    else if (word->kind == PTX_PARAMETER && bits == 64) /* its address */
        append(in, ptx_constant(p, p->kernel->parameters[word->value].offset));
    else if ((word->kind == PTX_BITS32 && bits == 32) || (word->kind == PTX_BITS64 && bits == 64))
        append(in, ptx_constant(p, word->value));
    else
        return bad_operand(p, w, "value of the type");
    return true;
}

static bool take_address(struct ptx_parser *p, struct ptx_instruction *in, uint32_t w) {
    const struct ptx_word *word = &p->words[w];
    const uint32_t bits = register_bits(p, w);
    in->offset = word->offset;
    if (word->kind == PTX_INTEGER) {
        append(in, ptx_constant(p, word->value));
        return true;
    }
    if (bits != 64 && !(bits == 32 && in->space == PTX_SHARED))
        return bad_operand(p, w, "address");
    append(in, (int32_t)word->register_);
    return true;
}

/* ---- what computes --------------------------------------------------------------------------- */

static bool decode_operation(struct ptx_parser *p, struct ptx_instruction *in,
                             const struct ptx_operation *operation) {
    char shape[] = "01234";
    uint32_t n = 1;
    while (n < 5 && operation->source[n - 1] != PTX_NONE)
        n++;
    shape[n] = '\0';
    in->kind = PTX_COMPUTE;
    in->run = operation->run;
    if (!have_shape(p, shape, "") ||
        !take_result(p, in, 0, ptx_type_bits(operation->result), false))
        return false;
    for (uint32_t i = 1; i < n; i++)
        if (!take_source(p, in, i, operation->source[i - 1]))
            return false;
    while (in->n_operands < 5)
        append(in, ptx_constant(p, 0));
    return true;
}

/* mov.b64 %rd, {%r, %r} and mov.b64 {%r, %r}, %rd. */
static bool decode_parts(struct ptx_parser *p, struct ptx_instruction *in) {
    const bool wide = strcmp(p->opcode, "mov.b64") == 0;
    const enum ptx_type whole = wide ? PTX_U64 : PTX_U32, part = wide ? PTX_U32 : PTX_U16;
    const bool packs = p->words[1].group == 1;
    in->type = whole;
    in->kind = packs ? PTX_PACK : PTX_UNPACK;
    if (packs)
        return have_shape(p, "011", "") && take_result(p, in, 0, ptx_type_bits(whole), false) &&
               take_source(p, in, 1, part) && take_source(p, in, 2, part);
    return have_shape(p, "001", "") && take_result(p, in, 0, ptx_type_bits(part), false) &&
           take_result(p, in, 1, ptx_type_bits(part), false) && take_source(p, in, 2, whole);
}

/* ---- memory ---------------------------------------------------------------------------------- */

enum { MODIFIER_SPACE = 1, MODIFIER_TYPE = 2, MODIFIER_VECTOR = 4, MODIFIER_ACTION = 8 };

static const struct {
    const char *word;
    uint32_t kind; /* 0: an order of accesses, which is kept anyway */
    uint32_t value;
} MODIFIERS[] = {
    {"global", MODIFIER_SPACE, PTX_GLOBAL},
    {"shared", MODIFIER_SPACE, PTX_SHARED},
    {"param", MODIFIER_SPACE, PTX_PARAM},
    {"v2", MODIFIER_VECTOR, 2},
    {"v4", MODIFIER_VECTOR, 4},
    {"add", MODIFIER_ACTION, PTX_ADD},
    {"min", MODIFIER_ACTION, PTX_MIN},
    {"max", MODIFIER_ACTION, PTX_MAX},
    {"and", MODIFIER_ACTION, PTX_AND},
    {"or", MODIFIER_ACTION, PTX_OR},
    {"xor", MODIFIER_ACTION, PTX_XOR},
    {"exch", MODIFIER_ACTION, PTX_EXCHANGE},
    {"inc", MODIFIER_ACTION, PTX_INCREMENT},
    {"cas", MODIFIER_ACTION, PTX_COMPARE_SWAP},
#define X(id, name) {#name, MODIFIER_TYPE, PTX_##id},
    PTX_TYPES(X)
#undef X
        {"b8", MODIFIER_TYPE, PTX_U8},
    {"b16", MODIFIER_TYPE, PTX_U16},
    {"b32", MODIFIER_TYPE, PTX_U32},
    {"b64", MODIFIER_TYPE, PTX_U64},
    {"nc", 0, 0},
    {"weak", 0, 0},
    {"volatile", 0, 0},
    {"relaxed", 0, 0},
    {"acquire", 0, 0},
    {"release", 0, 0},
    {"acq_rel", 0, 0},
    {"cta", 0, 0},
    {"gpu", 0, 0},
    {"sys", 0, 0},
    {"L1::no_allocate", 0, 0},
    {"L1::evict_first", 0, 0},
    {"L1::evict_last", 0, 0},
    {"L2::128B", 0, 0},
};

/* Reads the words of an opcode after the first one: only words of `allowed`, each kind at most
 * once. */
static bool read_modifiers(struct ptx_parser *p, struct ptx_instruction *in, uint32_t allowed,
                           uint32_t *n_vector) {
    uint32_t seen = 0;
    *n_vector = 1;
    for (const char *at = strchr(p->opcode, '.'); at != NULL;) {
        const char *word = at + 1;
        at = strchr(word, '.');
        const size_t n = at != NULL ? (size_t)(at - word) : strlen(word);
        uint32_t i = 0;
        const uint32_t n_modifiers = sizeof MODIFIERS / sizeof MODIFIERS[0];
        while (i < n_modifiers &&
               (strncmp(MODIFIERS[i].word, word, n) != 0 || MODIFIERS[i].word[n] != '\0'))
            i++;
        if (i == n_modifiers || (MODIFIERS[i].kind & (seen | ~allowed)) != 0)
            return not_known(p);
        seen |= MODIFIERS[i].kind;
        if (MODIFIERS[i].kind == MODIFIER_SPACE)
            in->space = (enum ptx_space)MODIFIERS[i].value;
        else if (MODIFIERS[i].kind == MODIFIER_VECTOR)
            *n_vector = MODIFIERS[i].value;
        else if (MODIFIERS[i].kind == MODIFIER_ACTION)
            in->action = (enum ptx_action)MODIFIERS[i].value;
        else if (MODIFIERS[i].kind == MODIFIER_TYPE)
            in->type = (enum ptx_type)MODIFIERS[i].value;
    }
    const uint32_t needed = allowed & (MODIFIER_TYPE | MODIFIER_ACTION);
    if ((seen & needed) != needed || *n_vector * ptx_type_bits(in->type) > 128)
        return not_known(p);
    return true;
}

static bool is_read_only(const struct ptx_parser *p) {
    return strstr(p->opcode, ".nc.") != NULL;
}

/* ld.param: the address is known now, or is in a register. */
static bool take_parameter(struct ptx_parser *p, struct ptx_instruction *in, uint32_t w,
                           uint32_t size_bytes) {
    const struct ptx_word *word = &p->words[w];
    if (word->kind == PTX_REGISTER)
        return take_address(p, in, w);
    if (word->kind != PTX_PARAMETER)
        return bad_operand(p, w, "parameter");
    const struct ptx_parameter *parameter = &p->kernel->parameters[word->value];
    if (word->offset > parameter->size_bytes || parameter->size_bytes - word->offset < size_bytes ||
        (parameter->offset + word->offset) % size_bytes != 0)
        return ptx_refuse(p, "%s is not within %s", p->opcode, parameter->name);
    in->offset = parameter->offset + word->offset;
    append(in, PTX_NO_OPERAND);
    return true;
}

static bool decode_access(struct ptx_parser *p, struct ptx_instruction *in, bool is_load) {
    uint32_t n = 1;
    in->kind = is_load ? PTX_LOAD : PTX_STORE;
    if (!read_modifiers(p, in, MODIFIER_SPACE | MODIFIER_TYPE | MODIFIER_VECTOR, &n))
        return false;
    if ((in->space == PTX_PARAM && !is_load) ||
        (is_read_only(p) && (in->space != PTX_GLOBAL || !is_load)))
        return not_known(p);
    static const char *const LOADS[] = {[1] = "01", [2] = "001", [4] = "00001"};
    static const char *const STORES[] = {[1] = "01", [2] = "011", [4] = "01111"};
    if (!have_shape(p, is_load ? LOADS[n] : STORES[n], is_load ? "1" : "0"))
        return false;
    const uint32_t bits = ptx_type_bits(in->type), address = is_load ? n : 0;
    if (!(in->space == PTX_PARAM ? take_parameter(p, in, address, n * bits / 8)
                                 : take_address(p, in, address)))
        return false;
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t w = is_load ? i : i + 1;
        if (is_load                            ? !take_result(p, in, w, bits, true)
            : p->words[w].kind == PTX_REGISTER ? !take_register(p, in, w, bits, true)
                                               : !take_source(p, in, w, in->type))
            return false;
    }
    return true;
}

/* Atomic sums of floats depend on the order of blocks, so they are refused. */
static bool decode_atomic(struct ptx_parser *p, struct ptx_instruction *in, bool has_result) {
    uint32_t n = 1;
    in->kind = PTX_ATOMIC;
    if (!read_modifiers(p, in, MODIFIER_SPACE | MODIFIER_TYPE | MODIFIER_ACTION, &n))
        return false;
    const uint32_t bits = ptx_type_bits(in->type), address = has_result ? 1 : 0;
    const bool swaps = in->action == PTX_COMPARE_SWAP;
    if (bits < 32 || in->type == PTX_F32 || in->type == PTX_F64 || in->space == PTX_PARAM ||
        (in->action == PTX_INCREMENT && in->type != PTX_U32) ||
        (!has_result && (swaps || in->action == PTX_EXCHANGE)))
        return not_known(p);
    if (!have_shape(p, has_result ? (swaps ? "0123" : "012") : "01", has_result ? "1" : "0") ||
        !take_address(p, in, address))
        return false;
    if (!has_result)
        append(in, PTX_NO_OPERAND);
    else if (!take_result(p, in, 0, bits, false))
        return false;
    return take_source(p, in, address + 1, in->type) &&
           (!swaps || take_source(p, in, address + 2, in->type));
}

/* ---- lanes together -------------------------------------------------------------------------- */

static bool decode_branch(struct ptx_parser *p, struct ptx_instruction *in, uint32_t uniform) {
    in->kind = PTX_BRANCH;
    in->uniform = uniform != 0;
    return have_shape(p, "0", "") && (p->words[0].kind == PTX_LABEL || bad_operand(p, 0, "label"));
}

static bool decode_exit(struct ptx_parser *p, struct ptx_instruction *in, uint32_t unused) {
    (void)unused;
    in->kind = PTX_EXIT;
    return have_shape(p, "", "");
}

static bool decode_depend(struct ptx_parser *p, struct ptx_instruction *in, uint32_t unused) {
    (void)unused;
    in->kind = PTX_DEPEND;
    return have_shape(p, "", "");
}

static bool decode_fence(struct ptx_parser *p, struct ptx_instruction *in, uint32_t of_device) {
    in->kind = PTX_FENCE;
    in->of_device = of_device != 0;
    return have_shape(p, "", "");
}

/* Only barrier 0 of all threads: no kernel has another one. */
static bool decode_barrier(struct ptx_parser *p, struct ptx_instruction *in, uint32_t unused) {
    (void)unused;
    in->kind = PTX_BARRIER;
    return have_shape(p, "0", "") && ((p->words[0].kind == PTX_INTEGER && p->words[0].value == 0) ||
                                      bad_operand(p, 0, "barrier 0"));
}

static bool decode_warp_sync(struct ptx_parser *p, struct ptx_instruction *in, uint32_t unused) {
    (void)unused;
    in->kind = PTX_WARP_SYNC;
    return have_shape(p, "0", "") && take_source(p, in, 0, PTX_U32);
}

static bool decode_shuffle(struct ptx_parser *p, struct ptx_instruction *in, uint32_t shuffle) {
    in->kind = PTX_SHUFFLE;
    in->shuffle = (enum ptx_shuffle)shuffle;
    const bool has_predicate = p->n_words == 6;
    if (!have_shape(p, has_predicate ? "001234" : "01234", "") || !take_result(p, in, 0, 32, false))
        return false;
    if (!has_predicate)
        append(in, PTX_NO_OPERAND);
    else if (!take_result(p, in, 1, 1, false))
        return false;
    for (uint32_t w = p->n_words - 4; w < p->n_words; w++)
        if (!take_source(p, in, w, PTX_U32))
            return false;
    return true;
}

/* d, source, mask; type and action in one number. */
#define REDUCTION(type, action) ((uint32_t)(type) << 8 | (action))

static bool decode_reduction(struct ptx_parser *p, struct ptx_instruction *in, uint32_t what) {
    in->kind = PTX_REDUCE;
    in->type = (enum ptx_type)(what >> 8);
    in->action = (enum ptx_action)(what & 255);
    return have_shape(p, "012", "") && take_result(p, in, 0, 32, false) &&
           take_source(p, in, 1, in->type) && take_source(p, in, 2, PTX_U32);
}

static bool decode_vote(struct ptx_parser *p, struct ptx_instruction *in, uint32_t action) {
    in->kind = PTX_VOTE;
    in->action = (enum ptx_action)action;
    return have_shape(p, "012", "") &&
           take_result(p, in, 0, in->action == PTX_BALLOT ? 32 : 1, false) &&
           take_source(p, in, 1, PTX_PRED) && take_source(p, in, 2, PTX_U32);
}

/* Products of bytes: k, and which operand is signed. */
#define MMA(k, a_signed, b_signed) ((k) << 2 | (a_signed) << 1 | (b_signed))

static bool decode_mma(struct ptx_parser *p, struct ptx_instruction *in, uint32_t what) {
    in->kind = PTX_MMA;
    in->mma_k = what >> 2;
    in->a_signed = (what & 2) != 0;
    in->b_signed = (what & 1) != 0;
    const bool wide = in->mma_k == 32;
    if (!have_shape(p,
                    wide ? "00001111223333"
                         : "0000"
                           "112"
                           "3333",
                    ""))
        return false;
    for (uint32_t w = 0; w < p->n_words; w++)
        if (w < 4 ? !take_result(p, in, w, 32, false) : !take_source(p, in, w, PTX_U32))
            return false;
    return true;
}

/* ---- the table ------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    bool (*decode)(struct ptx_parser *, struct ptx_instruction *, uint32_t);
    uint32_t what;
} ROWS[] = {
    {"bra", decode_branch, 0},
    {"bra.uni", decode_branch, 1},
    {"ret", decode_exit, 0},
    {"exit", decode_exit, 0},
    {"membar.cta", decode_fence, 0},
    {"membar.gl", decode_fence, 1},
    {"fence.acq_rel.cta", decode_fence, 0},
    {"fence.acq_rel.gpu", decode_fence, 1},
    {"fence.sc.gpu", decode_fence, 1},
    {"griddepcontrol.launch_dependents", decode_fence, 0}, /* what it allows is done anyway */
    {"griddepcontrol.wait", decode_depend, 0},
    {"bar.sync", decode_barrier, 0},
    {"barrier.sync", decode_barrier, 0},
    {"barrier.sync.aligned", decode_barrier, 0},
    {"bar.warp.sync", decode_warp_sync, 0},
    {"shfl.sync.up.b32", decode_shuffle, PTX_UP},
    {"shfl.sync.down.b32", decode_shuffle, PTX_DOWN},
    {"shfl.sync.bfly.b32", decode_shuffle, PTX_BUTTERFLY},
    {"shfl.sync.idx.b32", decode_shuffle, PTX_INDEX},
    {"redux.sync.add.u32", decode_reduction, REDUCTION(PTX_U32, PTX_ADD)},
    {"redux.sync.add.s32", decode_reduction, REDUCTION(PTX_S32, PTX_ADD)},
    {"redux.sync.min.u32", decode_reduction, REDUCTION(PTX_U32, PTX_MIN)},
    {"redux.sync.min.s32", decode_reduction, REDUCTION(PTX_S32, PTX_MIN)},
    {"redux.sync.max.u32", decode_reduction, REDUCTION(PTX_U32, PTX_MAX)},
    {"redux.sync.max.s32", decode_reduction, REDUCTION(PTX_S32, PTX_MAX)},
    {"redux.sync.and.b32", decode_reduction, REDUCTION(PTX_U32, PTX_AND)},
    {"redux.sync.or.b32", decode_reduction, REDUCTION(PTX_U32, PTX_OR)},
    {"redux.sync.xor.b32", decode_reduction, REDUCTION(PTX_U32, PTX_XOR)},
    {"vote.sync.ballot.b32", decode_vote, PTX_BALLOT},
    {"vote.sync.any.pred", decode_vote, PTX_OR},
    {"vote.sync.all.pred", decode_vote, PTX_AND},
    {"mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32", decode_mma, MMA(32, 1, 1)},
    {"mma.sync.aligned.m16n8k32.row.col.s32.s8.u8.s32", decode_mma, MMA(32, 1, 0)},
    {"mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32", decode_mma, MMA(32, 0, 1)},
    {"mma.sync.aligned.m16n8k32.row.col.s32.u8.u8.s32", decode_mma, MMA(32, 0, 0)},
    {"mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32", decode_mma, MMA(16, 1, 1)},
    {"mma.sync.aligned.m16n8k16.row.col.s32.u8.s8.s32", decode_mma, MMA(16, 0, 1)},
};

static bool begins(const char *text, const char *with) {
    return strncmp(text, with, strlen(with)) == 0;
}

bool ptx_decode(struct ptx_parser *p, struct ptx_instruction *in) {
    const bool is_move = strcmp(p->opcode, "mov.b64") == 0 || strcmp(p->opcode, "mov.b32") == 0;
    if (is_move && p->n_words == 3)
        return decode_parts(p, in);
    const struct ptx_operation *operation = ptx_find_operation(p->opcode);
    if (operation != NULL)
        return decode_operation(p, in, operation);
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++)
        if (strcmp(ROWS[i].name, p->opcode) == 0)
            return ROWS[i].decode(p, in, ROWS[i].what);
    if (begins(p->opcode, "ld.") || begins(p->opcode, "st."))
        return decode_access(p, in, p->opcode[0] == 'l');
    if (begins(p->opcode, "atom.") || begins(p->opcode, "red."))
        return decode_atomic(p, in, p->opcode[0] == 'a');
    return not_known(p);
}
