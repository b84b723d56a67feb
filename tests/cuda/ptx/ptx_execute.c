/* ptx_execute.c - the order of execution: lanes of a warp run together as long as they agree, warps
 * and blocks in random order.
 *
 * Lanes that have diverged continue in groups. Mostly the group that is furthest back runs, so
 * that groups meet again; sometimes another one runs. Instructions of a whole warp (shuffles,
 * matrix products, barriers) wait for all lanes that they name: if these cannot come, the kernel
 * is wrong. */
#include <stdlib.h>
#include <string.h>

#include "ptx.h"

#define PLENTY_OF_STEPS (UINT64_C(1) << 36)
#define MAX_BLOCKS (1u << 19) /* threads that a trace can name */
#define TURN 128u             /* a warp's instructions in a row, at most */

struct execution {
    struct ptx_block block;
    struct ptx_counts *counts;
    uint64_t random, n_steps;
};

/* Knuth's generator of MMIX, without its lower bits. */
static uint32_t random_below(struct execution *x, uint32_t n) {
    x->random = x->random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((x->random >> 32) * n >> 32);
}

/* ---- a warp ---------------------------------------------------------------------------------- */

/* Sets the lanes that continue together to warp->pc. */
static void end_group(struct ptx_warp *warp) {
    for (uint32_t i = 0; i < PTX_LANES; i++)
        if ((warp->group >> i & 1) != 0)
            warp->lane_pc[i] = warp->pc;
    warp->group = 0;
}

/* Chooses the lanes that continue together, and finds the place where others may join them. */
static void choose_group(struct execution *x, struct ptx_warp *warp) {
    const uint32_t runnable = warp->live & ~warp->waiting;
    uint32_t chosen = PTX_LANES;
    for (uint32_t i = 0; i < PTX_LANES; i++)
        if ((runnable >> i & 1) != 0 &&
            (chosen == PTX_LANES || warp->lane_pc[i] < warp->lane_pc[chosen]))
            chosen = i;
    if (random_below(x, 64) == 0)
        for (chosen = random_below(x, PTX_LANES); (runnable >> chosen & 1) == 0;)
            chosen = (chosen + 1) % PTX_LANES;
    warp->pc = warp->lane_pc[chosen];
    warp->meeting = UINT32_MAX;
    for (uint32_t i = 0; i < PTX_LANES; i++) {
        const uint32_t pc = warp->lane_pc[i];
        if ((runnable >> i & 1) == 0)
            continue;
        if (pc == warp->pc)
            warp->group |= 1u << i;
        else if (pc > warp->pc && pc < warp->meeting)
            warp->meeting = pc;
    }
}

/* Finds the lanes in which the predicate holds. False: the predicate was never set. */
static bool apply_predicate(struct execution *x, const struct ptx_warp *warp,
                            const struct ptx_instruction *in, uint32_t lanes, uint32_t *active) {
    *active = lanes;
    if (in->predicate == PTX_NO_OPERAND)
        return true;
    if ((lanes & ~warp->known[in->predicate]) != 0) {
        ptx_fail(x->block.error, in->line, "the predicate was never set");
        return false;
    }
    const uint64_t *values = warp->registers[in->predicate];
    uint32_t set = 0;
    for (uint32_t i = 0; i < PTX_LANES; i++)
        set |= (uint32_t)(values[i] != 0) << i;
    *active = lanes & (in->negated ? ~set : set);
    return true;
}

static bool is_collective(enum ptx_kind kind) {
    return kind == PTX_BARRIER || kind == PTX_WARP_SYNC || kind == PTX_SHUFFLE ||
           kind == PTX_REDUCE || kind == PTX_VOTE || kind == PTX_MMA;
}

/* The lanes that an instruction of the warp waits for. All lanes that have arrived must agree on
 * them. */
static bool named_lanes(struct execution *x, struct ptx_warp *warp,
                        const struct ptx_instruction *in, uint32_t present, uint32_t *out) {
    if (in->kind == PTX_BARRIER || in->kind == PTX_MMA) {
        *out = warp->lanes;
        return true;
    }
    const uint64_t *mask = ptx_value(&x->block, warp, in, in->n_operands - 1, present);
    if (mask == NULL)
        return false;
    *out = (uint32_t)mask[__builtin_ctz(present)];
    for (uint32_t i = 0; i < PTX_LANES; i++)
        if ((present >> i & 1) != 0 && ((uint32_t)mask[i] != *out || (*out >> i & 1) == 0)) {
            ptx_fail(x->block.error, in->line, "lane %u of warp %u is not of the mask 0x%08x", i,
                     warp->number, *out);
            return false;
        }
    return true;
}

/* Executes an instruction of the warp if all its lanes have arrived; otherwise the arrived lanes
 * wait at it. */
static bool do_together(struct execution *x, struct ptx_warp *warp,
                        const struct ptx_instruction *in, uint32_t active) {
    const uint32_t pc = warp->pc++;
    uint32_t present = active, named = 0;
    end_group(warp); /* lanes whose predicate is off pass by */
    for (uint32_t i = 0; i < PTX_LANES; i++)
        present |= (warp->waiting >> i & 1) != 0 && warp->lane_pc[i] == pc ? 1u << i : 0;
    if (active == 0)
        return true;
    if (!named_lanes(x, warp, in, present, &named))
        return false;
    if ((named & ~warp->live) != 0) {
        ptx_fail(x->block.error, in->line, "thread %u of block %u has ended, others wait for it",
                 warp->number * PTX_LANES + (uint32_t)__builtin_ctz(named & ~warp->live),
                 x->block.number);
        return false;
    }
    const bool complete = present == named;
    warp->waiting = complete ? warp->waiting & ~present : warp->waiting | active;
    warp->group = present;
    warp->pc = complete ? pc + 1 : pc;
    end_group(warp);
    if (!complete)
        return true;
    warp->at_barrier = in->kind == PTX_BARRIER;
    return ptx_do(&x->block, warp, in, present);
}

static bool branch(struct execution *x, struct ptx_warp *warp, const struct ptx_instruction *in,
                   uint32_t active) {
    const uint32_t group = warp->group, others = group & ~active;
    if (in->uniform && active != 0 && others != 0) {
        ptx_fail(x->block.error, in->line, "lanes disagree at bra.uni");
        return false;
    }
    warp->pc++;
    if (active == 0) {
        if (warp->pc == warp->meeting)
            end_group(warp);
        return true;
    }
    warp->group = others;
    end_group(warp);
    warp->group = active;
    warp->pc = in->target;
    if (active != warp->live) /* other lanes may be at the branch's target */
        end_group(warp);
    return true;
}

static void count(struct execution *x, const struct ptx_instruction *in, uint32_t active) {
    x->n_steps++;
    if (x->counts == NULL)
        return;
    x->counts->warp_instructions++;
    x->counts->thread_instructions += (uint64_t)__builtin_popcount(active);
    if (x->counts->by_instruction != NULL)
        x->counts->by_instruction[in - x->block.launch->kernel->code]++;
}

/* Two lines at which lanes wait for each other. */
static bool report_deadlock(struct execution *x, const struct ptx_warp *warp) {
    const struct ptx_instruction *code = x->block.launch->kernel->code;
    uint32_t first = UINT32_MAX, last = 0;
    for (uint32_t i = 0; i < PTX_LANES; i++)
        if ((warp->waiting >> i & 1) != 0) {
            first = code[warp->lane_pc[i]].line < first ? code[warp->lane_pc[i]].line : first;
            last = code[warp->lane_pc[i]].line > last ? code[warp->lane_pc[i]].line : last;
        }
    if (first == last)
        ptx_fail(x->block.error, first,
                 "a deadlock: lanes of warp %u wait for others that never come", warp->number);
    ptx_fail(x->block.error, first,
             "a deadlock: lanes of warp %u wait for each other at lines %u and %u", warp->number,
             first, last);
    return false;
}

static bool step(struct execution *x, struct ptx_warp *warp) {
    if ((warp->live & ~warp->waiting) == 0)
        return report_deadlock(x, warp);
    if (warp->group == 0)
        choose_group(x, warp);
    const struct ptx_instruction *in = &x->block.launch->kernel->code[warp->pc];
    uint32_t active = 0;
    if (!apply_predicate(x, warp, in, warp->group, &active))
        return false;
    count(x, in, active);
    if (is_collective(in->kind))
        return do_together(x, warp, in, active);
    if (in->kind == PTX_BRANCH)
        return branch(x, warp, in, active);
    if (in->kind == PTX_EXIT && x->block.launch->dependent && (active & ~warp->after) != 0) {
        ptx_fail(x->block.error, in->line,
                 "warp %u of block %u ends and has not waited for the launch before", warp->number,
                 x->block.number);
        return false;
    }
    if (active != 0 && !ptx_do(&x->block, warp, in, active))
        return false;
    warp->pc++;
    if (in->kind == PTX_EXIT)
        warp->live &= ~active;
    if (in->kind == PTX_EXIT || warp->pc == warp->meeting)
        end_group(warp);
    return true;
}

/* ---- a block --------------------------------------------------------------------------------- */

/* A random warp that can run, or NULL. */
static struct ptx_warp *choose_warp(struct execution *x) {
    struct ptx_block *block = &x->block;
    const uint32_t first = random_below(x, block->n_warps);
    for (uint32_t i = 0; i < block->n_warps; i++) {
        struct ptx_warp *warp = &block->warps[(first + i) % block->n_warps];
        if (warp->live != 0 && !warp->at_barrier)
            return warp;
    }
    return NULL;
}

/* The instruction at which a warp waits: the one before its next. */
static const struct ptx_instruction *barrier_of(const struct ptx_block *block,
                                                const struct ptx_warp *warp) {
    return &block->launch->kernel->code[warp->lane_pc[0] - 1];
}

/* All warps that have not ended wait: releases them. It is an error if some threads have ended. (A
 * GPU ignores ended threads, but a kernel with such threads has lost a branch.) */
static bool release_barrier(struct execution *x) {
    struct ptx_block *block = &x->block;
    const struct ptx_instruction *barrier = NULL;
    for (uint32_t w = 0; w < block->n_warps; w++)
        if (block->warps[w].at_barrier)
            barrier = barrier_of(block, &block->warps[w]);
    for (uint32_t w = 0; w < block->n_warps; w++) {
        struct ptx_warp *warp = &block->warps[w];
        if (!warp->at_barrier || barrier_of(block, warp) != barrier) {
            ptx_fail(block->error, barrier->line,
                     "warp %u of block %u does not come to this barrier", w, block->number);
            return false;
        }
    }
    for (uint32_t w = 0; w < block->n_warps; w++) {
        block->warps[w].at_barrier = false;
        for (uint32_t i = 0; i < PTX_LANES; i++)
            block->acquired |= block->warps[w].acquired[i];
    }
    block->barrier_time = ++block->memory->time;
    return true;
}

static bool is_over(const struct ptx_block *block) {
    for (uint32_t w = 0; w < block->n_warps; w++)
        if (block->warps[w].live != 0)
            return false;
    return true;
}

static bool run_turn(struct execution *x, struct ptx_warp *warp) {
    const uint64_t most =
        x->block.launch->max_steps != 0 ? x->block.launch->max_steps : PLENTY_OF_STEPS;
    for (uint32_t n = 1 + random_below(x, TURN); n != 0 && warp->live != 0 && !warp->at_barrier;
         n--) {
        if (x->n_steps >= most) {
            ptx_fail(x->block.error, 0, "the kernel did not end within %llu instructions",
                     (unsigned long long)most);
            return false;
        }
        if (!step(x, warp))
            return false;
    }
    return true;
}

/* The special registers of a thread: its numbers and sizes. */
static void set_specials(struct ptx_block *block, struct ptx_warp *warp) {
    const struct ptx_launch *launch = block->launch;
    for (uint32_t lane = 0; lane < PTX_LANES; lane++) {
        const uint32_t tid = warp->number * PTX_LANES + lane;
        ptx_row *row = warp->registers;
        row[PTX_TID_X][lane] = tid % launch->block[0];
        row[PTX_TID_Y][lane] = tid / launch->block[0] % launch->block[1];
        row[PTX_TID_Z][lane] = tid / launch->block[0] / launch->block[1];
        row[PTX_LANEID][lane] = lane;
        for (uint32_t i = 0; i < 3; i++) {
            row[PTX_NTID_X + i][lane] = launch->block[i];
            row[PTX_CTAID_X + i][lane] = block->id[i];
            row[PTX_NCTAID_X + i][lane] = launch->grid[i];
        }
    }
}

static void begin_block(struct ptx_block *block, uint32_t number) {
    const struct ptx_launch *launch = block->launch;
    block->number = number;
    block->id[0] = number % launch->grid[0];
    block->id[1] = number / launch->grid[0] % launch->grid[1];
    block->id[2] = number / launch->grid[0] / launch->grid[1];
    block->start_time = block->barrier_time = ++block->memory->time;
    block->acquired = 0;
    memset(block->shared.known, 0, block->shared.size_bytes);
    for (uint32_t w = 0; w < block->n_warps; w++) {
        struct ptx_warp *warp = &block->warps[w];
        const uint32_t n = block->n_threads - w * PTX_LANES;
        *warp = (struct ptx_warp){.number = w,
                                  .lanes = n >= PTX_LANES ? PTX_ALL_LANES : (1u << n) - 1,
                                  .sync_time = block->start_time,
                                  .registers = warp->registers,
                                  .known = warp->known};
        warp->live = warp->lanes;
        memset(warp->known, 0, launch->kernel->n_registers * sizeof *warp->known);
        memset(warp->known, 0xff, PTX_SPECIAL_COUNT * sizeof *warp->known);
        set_specials(block, warp);
    }
}

static bool run_block(struct execution *x, uint32_t number) {
    begin_block(&x->block, number);
    while (!is_over(&x->block)) {
        struct ptx_warp *warp = choose_warp(x);
        if (!(warp != NULL ? run_turn(x, warp) : release_barrier(x)))
            return false;
    }
    return true;
}

/* ---- a launch -------------------------------------------------------------------------------- */

static bool check_launch(const struct ptx_launch *launch, struct ptx_error *error) {
    const struct ptx_kernel *kernel = launch->kernel;
    uint64_t threads = 1, blocks = 1;
    for (uint32_t i = 0; i < 3; i++) {
        const uint32_t most = kernel->max_threads[i];
        threads *= launch->block[i];
        blocks *= launch->grid[i];
        if (launch->block[i] > PTX_BLOCK_THREADS || launch->grid[i] > MAX_BLOCKS ||
            blocks > MAX_BLOCKS ||
            (most != 0 &&
             (kernel->exact_threads ? launch->block[i] != most : launch->block[i] > most)))
            ptx_fail(error, 0, "%s: a launch of %u x %u x %u blocks of %u x %u x %u threads",
                     kernel->name, launch->grid[0], launch->grid[1], launch->grid[2],
                     launch->block[0], launch->block[1], launch->block[2]);
    }
    if (threads == 0 || threads > PTX_BLOCK_THREADS || blocks == 0)
        ptx_fail(error, 0, "%s: a launch of %llu blocks of %llu threads", kernel->name,
                 (unsigned long long)blocks, (unsigned long long)threads);
    return error->text[0] == '\0';
}

static void *allocate(size_t n, size_t size_bytes) {
    void *memory = calloc(n != 0 ? n : 1, size_bytes);
    if (memory == NULL)
        rsrc_out_of_memory(n * size_bytes);
    return memory;
}

static void begin_launch(struct ptx_block *block) {
    const struct ptx_launch *launch = block->launch;
    const struct ptx_kernel *kernel = launch->kernel;
    block->n_threads = launch->block[0] * launch->block[1] * launch->block[2];
    block->n_warps = (block->n_threads + PTX_LANES - 1) / PTX_LANES;
    block->launch_time = ++block->memory->time;
    if (!launch->dependent)
        block->memory->chain_time = block->launch_time;
    block->chain_time = block->memory->chain_time;
    block->signals.n_blocks = launch->grid[0] * launch->grid[1] * launch->grid[2];
    block->shared =
        (struct ptx_region){.base = PTX_SHARED_BASE,
                            .size_bytes = kernel->shared_bytes,
                            .bytes = allocate(kernel->shared_bytes, 1),
                            .known = allocate(kernel->shared_bytes, 1),
                            .traces = allocate(kernel->shared_bytes, sizeof(struct ptx_trace))};
    for (uint32_t w = 0; w < block->n_warps; w++) {
        block->warps[w].registers = allocate(kernel->n_registers, sizeof(ptx_row));
        block->warps[w].known = allocate(kernel->n_registers, sizeof(uint32_t));
    }
}

static void end_launch(struct ptx_block *block) {
    free(block->shared.bytes);
    free(block->shared.known);
    free(block->shared.traces);
    for (uint32_t i = 0; i < block->signals.n; i++)
        free(block->signals.list[i].until);
    for (uint32_t w = 0; w < block->n_warps; w++) {
        free(block->warps[w].registers);
        free(block->warps[w].known);
    }
}

bool ptx_run(struct ptx_memory *memory, const struct ptx_launch *launch, struct ptx_counts *counts,
             struct ptx_error *error) {
    *error = (struct ptx_error){0};
    if (!check_launch(launch, error))
        return false;
    struct execution *x = allocate(1, sizeof *x);
    x->block.memory = memory;
    x->block.launch = launch;
    x->block.error = error;
    x->counts = counts;
    x->random = launch->seed;
    begin_launch(&x->block);
    const uint32_t n = launch->grid[0] * launch->grid[1] * launch->grid[2];
    uint32_t *order = allocate(n, sizeof *order);
    for (uint32_t i = 0; i < n; i++) { /* Fisher and Yates */
        const uint32_t j = random_below(x, i + 1);
        order[i] = order[j];
        order[j] = i;
    }
    for (uint32_t i = 0; i < n && error->text[0] == '\0'; i++)
        (void)run_block(x, order[i]);
    free(order);
    end_launch(&x->block);
    free(x);
    return error->text[0] == '\0';
}
