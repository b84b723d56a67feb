/* c_declare.c - decides where the variable of each register is declared.
 *
 * One pass over the operations finds, for every register, its first mention, the block that holds
 * all of them, and how often it is assigned.
 */
#include "emit/c/c_code.h"
#include "kernel_ops.h"

bool rsrc_c_opens_block(const struct rsr_kop *op) {
    return op->kind == RSR_KOP_LOOP || op->kind == RSR_KOP_IF || op->kind == RSR_KOP_ELSE;
}

bool rsrc_c_closes_block(const struct rsr_kop *op) {
    return op->kind == RSR_KOP_END || op->kind == RSR_KOP_ELSE;
}

/* The blocks of a kernel. Block 0 is the function's body; `opener` is the operation that begins a
 * block (for the branch after ELSE, its IF: nothing can be declared between the two). */
struct block_tree {
    uint32_t *block_of; /* by operation: the block that contains it */
    uint32_t *parent;
    uint32_t *depth;
    uint32_t *opener;
};

static void build_block_tree(const struct rsrc_c_code *code, struct rsrc_arena *arena,
                             struct block_tree *tree) {
    const uint32_t n = code->n_ops + 1;
    tree->block_of = RSRC_NEW_ARRAY(arena, n, uint32_t);
    tree->parent = RSRC_NEW_ARRAY(arena, n, uint32_t);
    tree->depth = RSRC_NEW_ARRAY(arena, n, uint32_t);
    tree->opener = RSRC_NEW_ARRAY(arena, n, uint32_t);
    uint32_t current = 0, n_blocks = 1;
    for (uint32_t i = 0; i < code->n_ops; i++) {
        const struct rsr_kop *op = &code->ops[i];
        const uint32_t branch = tree->opener[current];
        if (rsrc_c_closes_block(op))
            current = tree->parent[current];
        tree->block_of[i] = current;
        if (rsrc_c_opens_block(op)) {
            tree->parent[n_blocks] = current;
            tree->depth[n_blocks] = tree->depth[current] + 1;
            tree->opener[n_blocks] = op->kind == RSR_KOP_ELSE ? branch : i;
            current = n_blocks++;
        }
    }
}

static uint32_t common_block(const struct block_tree *tree, uint32_t a, uint32_t b) {
    while (a != b) {
        if (tree->depth[a] >= tree->depth[b])
            a = tree->parent[a];
        else
            b = tree->parent[b];
    }
    return a;
}

/* Facts about a register. */
struct mentions {
    uint32_t first; /* operation; UINT32_MAX: none */
    uint32_t block;
    uint32_t n_assignments;
};

static void mention(struct mentions *mentions, const struct block_tree *tree, uint16_t reg,
                    uint32_t at) {
    if (reg == RSR_NO_KREG)
        return;
    struct mentions *m = &mentions[reg];
    const uint32_t block = tree->block_of[at];
    m->block = m->first == UINT32_MAX ? block : common_block(tree, m->block, block);
    if (m->first == UINT32_MAX)
        m->first = at;
}

/* The registers that statement `at` names for its operation, or for one that is nested in it. */
static void mention_operands(struct mentions *mentions, const struct rsrc_c_code *code,
                             const struct block_tree *tree, uint32_t operation, uint32_t at) {
    const struct rsr_kop *op = &code->ops[operation];
    const uint16_t operands[3] = {op->a, op->b, op->c};
    for (uint32_t k = 0; k < rsrc_kop_arity(op->kind); k++)
        if (code->nested[operation][k] != UINT32_MAX)
            mention_operands(mentions, code, tree, code->nested[operation][k], at);
        else
            mention(mentions, tree, operands[k], at);
    for (uint32_t k = 0; k < 3; k++)
        mention(mentions, tree, op->term[k], at);
}

static struct mentions *find_mentions(const struct rsrc_c_code *code, const struct block_tree *tree,
                                      struct rsrc_arena *arena) {
    struct mentions *mentions = RSRC_NEW_ARRAY(arena, code->n_regs + 1u, struct mentions);
    for (uint32_t r = 0; r < code->n_regs; r++)
        mentions[r].first = UINT32_MAX;
    for (uint32_t i = 0; i < code->n_ops; i++) {
        const struct rsr_kop *op = &code->ops[i];
        if (code->is_left_out[i])
            continue;
        mention_operands(mentions, code, tree, i, i);
        if (rsrc_kop_has_result(op->kind)) {
            mention(mentions, tree, op->dst, i);
            mentions[op->dst].n_assignments++;
        }
    }
    return mentions;
}

static struct rsrc_c_declaration place(const struct rsrc_c_code *code,
                                       const struct block_tree *tree, const struct mentions *m,
                                       const struct rsr_kreg *reg) {
    struct rsrc_c_declaration declaration = {.at = UINT32_MAX, .next_here = UINT32_MAX};
    /* Tiles are no variables; a for statement declares its counter. */
    if (m->first == UINT32_MAX || reg->elem == RSR_ELEM_TILE ||
        code->ops[m->first].kind == RSR_KOP_LOOP)
        return declaration;
    uint32_t block = tree->block_of[m->first];
    if (block == m->block) {
        declaration.at = m->first;
        declaration.by_assignment = true;
        declaration.constant = m->n_assignments == 1;
        return declaration;
    }
    while (tree->parent[block] != m->block)
        block = tree->parent[block];
    declaration.at = tree->opener[block];
    return declaration;
}

void rsrc_c_place_declarations(struct rsrc_c_code *code, struct rsrc_arena *arena) {
    struct block_tree tree;
    build_block_tree(code, arena, &tree);
    const struct mentions *mentions = find_mentions(code, &tree, arena);
    code->declarations = RSRC_NEW_ARRAY(arena, code->n_regs + 1u, struct rsrc_c_declaration);
    code->declared_before = RSRC_NEW_ARRAY(arena, code->n_ops + 1u, uint32_t);
    for (uint32_t i = 0; i < code->n_ops; i++)
        code->declared_before[i] = UINT32_MAX;
    for (uint32_t r = code->n_regs; r-- > 0;) {
        struct rsrc_c_declaration *declaration = &code->declarations[r];
        *declaration = place(code, &tree, &mentions[r], &code->regs[r]);
        if (declaration->at != UINT32_MAX && !declaration->by_assignment) {
            declaration->next_here = code->declared_before[declaration->at];
            code->declared_before[declaration->at] = r;
        }
    }
}
