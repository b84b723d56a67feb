/* cost.c - the cost of a layer on a target: exact bytes, and microseconds by a model.
 *
 * Input: statistics of the matrix and the target's numbers, all of one core. A decoded token reads
 * all weights once, so its time is the larger of reading and computing; the two overlap. In prefill
 * the tokens of a batch share the reading, and `dot` shares the unpacking among a few of them. A
 * kernel's own file counts its bytes and its work; a test compares them with what lowering makes.
 */
#include "kernel/kernel.h"

#include <math.h>

/* The cost of calling a kernel and of the barrier after it, measured on two cores of a 2.5 GHz
 * server. */
#define CALL_US 0.5

/* Time to read bytes at GB/s, in microseconds. */
static double read_us(double bytes, double gbps) {
    return bytes / (gbps * 1e3);
}

double rsrc_work_us(double operations, double giga_per_s) {
    return operations / (giga_per_s * 1e3);
}

const char *rsrc_work_text(struct rsrc_arena *arena, double operations, const char *what) {
    return operations < 1e5 ? rsrc_arena_printf(arena, "%.0f %s", operations, what)
                            : rsrc_arena_printf(arena, "%.3g M %s", operations / 1e6, what);
}

/* Reading and computing overlap. Together they take the longer of the two times, and somewhat more
 * if the two are nearly equal, because each sometimes waits for the other. The model is the fourth
 * root of the sum of fourth powers. Measured for lut on a Zen 4, as the shorter over the longer
 * time, and the total over the longer: 0.72 1.04, 0.75 1.09, 0.81 1.17, 0.89 1.14. The model gives
 * 1.06, 1.07, 1.09, 1.13. */
static double overlapped_us(double a_us, double b_us) {
    return sqrt(hypot(a_us * a_us, b_us * b_us));
}

double rsrc_call_us(double memory_us, double compute_us) {
    return CALL_US + overlapped_us(memory_us, compute_us);
}

/* Time of a token in a batch. */
static struct rsrc_cost make_cost(double memory_us, double compute_us, uint32_t n_tokens) {
    return (struct rsrc_cost){.memory_us = memory_us / n_tokens,
                              .compute_us = compute_us,
                              .predicted_us =
                                  rsrc_call_us(memory_us, compute_us * n_tokens) / n_tokens};
}

void rsrc_set_costs_of_bytes(struct rsrc_choice *choice, double bytes, double decode_us,
                             double prefill_us, const struct rsr_spec *spec) {
    const double memory_us = read_us(bytes, spec->read_gbps);
    choice->cost[RSR_REGIME_DECODE] = make_cost(memory_us, decode_us, 1);
    choice->cost[RSR_REGIME_PREFILL] = make_cost(memory_us, prefill_us, RSRC_PREFILL_TOKENS);
}

void rsrc_set_costs(struct rsrc_choice *choice, double decode_us, double prefill_us,
                    const struct rsr_spec *spec) {
    rsrc_set_costs_of_bytes(choice, (double)choice->weight_bytes, decode_us, prefill_us, spec);
}
