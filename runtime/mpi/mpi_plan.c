/* mpi_plan.c - see mpi_plan.h. */
#include "mpi_plan.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "mpi_transport.h"

#define GATHERS_A_LAYER 4u
#define LONGEST_NS 500000000u /* of the measured steps */
#define WARM_STEPS 8u
#define MOST_STEPS 48u
#define LEAST_STEPS 4u

struct mpi_plan {
    rsr_model_info info;
    uint32_t n_ranks;
    double *exchange_ns;        /* [n_ranks + 1]: of all exchanges of a token; 0 for one rank */
    double fixed_ns, shared_ns; /* F and S of a token */
    double slowest_ns;          /* what the slowest of all ranks computes */
    double measured_ns;         /* a token with all ranks */
};

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- Exchanges ---- */

/* Whether the head has a sketch: then logits read more than a pick does. */
static bool has_sketch(const rsr_model_info *info) {
    return info->logits_bytes != 0;
}

/* What the ranks exchange for a token: floats of each gather of a layer, layers, and the
 * head's gathers. */
struct sizes {
    uint64_t floats[GATHERS_A_LAYER], n_layers, head_bytes, head_gathers;
};

/* Those of rank 0. All ranks must measure the same exchanges; whether they have the same model, an
 * engine finds out, which is made afterwards. */
static bool agree_on_sizes(const rsr_transport *transport, const rsr_model_info *info,
                           struct sizes *sizes) {
    *sizes = (struct sizes){
        .floats = {(uint64_t)info->n_heads * info->head_dim, info->hidden, (uint64_t)2 * info->ffn,
                   info->hidden},
        .n_layers = info->n_layers,
        .head_bytes = has_sketch(info) ? 1024 : (uint64_t)info->output_size * sizeof(float),
        .head_gathers = has_sketch(info) ? 2 : 1};
    rsr_error err = RSR_ERROR_INIT;
    if (transport->bcast(transport->user, sizes, sizeof(*sizes), 0, &err) == RSR_OK)
        return true;
    run_fail("%s", err.message);
    return false;
}

struct mpi_plan *mpi_plan_exchanges(const rsr_transport *transport, const rsr_model_info *info) {
    struct sizes sizes;
    if (!agree_on_sizes(transport, info, &sizes))
        return NULL;
    struct mpi_plan *plan = calloc(1, sizeof(*plan));
    if (plan != NULL)
        plan->exchange_ns = calloc((size_t)transport->size + 1, sizeof(*plan->exchange_ns));
    if (plan == NULL || plan->exchange_ns == NULL) {
        run_fail("out of memory");
        mpi_plan_destroy(plan);
        return NULL;
    }
    plan->info = *info;
    plan->n_ranks = transport->size;
    for (uint32_t n = 2; n <= transport->size; n++) {
        double layer_ns = 0;
        for (uint32_t i = 0; i < GATHERS_A_LAYER; i++)
            layer_ns += mpi_transport_time_gather(n, sizes.floats[i] * sizeof(float));
        const double head_ns =
            (double)sizes.head_gathers * mpi_transport_time_gather(n, sizes.head_bytes);
        plan->exchange_ns[n] =
            layer_ns * (double)sizes.n_layers + head_ns + mpi_transport_time_bcast(n, 1024);
    }
    return plan;
}

void mpi_plan_destroy(struct mpi_plan *plan) {
    if (plan != NULL)
        free(plan->exchange_ns);
    free(plan);
}

/* ---- Steps ---- */

/* Evaluates up to n tokens, one a step. Returns how many. */
static uint32_t take_steps(rsr_engine *engine, rsr_sequence *sequence, uint32_t n, rsr_error *err) {
    const uint64_t begin = now_ns();
    rsr_batch batch = RSR_BATCH_INIT;
    uint32_t token = 1, done = 0;
    for (; done < n && (done < LEAST_STEPS || now_ns() - begin < LONGEST_NS); done++) {
        const rsr_batch_entry entry = {sequence, rsr_sequence_length(sequence), token, false};
        const rsr_pick pick = {0, NULL};
        batch.entries = &entry;
        batch.n_entries = 1;
        batch.picks = &pick;
        batch.n_picks = 1;
        batch.picked = &token;
        if (rsr_eval(engine, &batch, err) != RSR_OK)
            return 0;
    }
    return done;
}

/* The operations that every rank runs itself, by their names in a profile. */
static bool is_fixed(const char *name) {
    static const char *const names[] = {"embed",  "rope_table", "add",   "norm",      "quant",
                                        "pad",    "act_mul",    "gate",  "list_rows", "list_cols",
                                        "rotate", "unrotate",   "output"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

/* Time of these operations. Roles of linear layers come after all kinds of operations, "q" first of
 * those that ranks share out; one of them is named "gate" as an operation is. */
static double fixed_time(rsr_engine *engine) {
    rsr_profile_entry entries[128] = {RSR_PROFILE_ENTRY_INIT};
    size_t n = 0;
    double ns = 0;
    for (size_t i = 0; i < 128; i++)
        entries[i].size_bytes = sizeof(entries[i]);
    if (rsr_engine_profile(engine, false, entries, 128, &n) != RSR_OK)
        return 0;
    bool roles = false;
    for (size_t i = 0; i < n; i++) {
        roles = roles || strcmp(entries[i].name, "q") == 0;
        if (!roles && is_fixed(entries[i].name))
            ns += (double)entries[i].time_ns;
    }
    return ns;
}

/* What rank r computed so far. */
static double computed(rsr_engine *engine, uint32_t r, double *step_ns) {
    rsr_rank_info info = RSR_RANK_INFO_INIT;
    if (rsr_engine_get_rank(engine, r, &info) != RSR_OK)
        return 0;
    *step_ns = (double)info.step_ns;
    return (double)info.compute_ns;
}

bool mpi_plan_steps(struct mpi_plan *plan, rsr_engine *engine) {
    rsr_error err = RSR_ERROR_INIT;
    rsr_engine_info info = RSR_ENGINE_INFO_INIT;
    rsr_sequence *sequence = NULL;
    double *before = calloc(plan->n_ranks, sizeof(*before)), begin_ns = 0, end_ns = 0;
    uint32_t n = 0;
    if (before != NULL && rsr_engine_get_info(engine, &info) == RSR_OK &&
        rsr_sequence_create(engine, &sequence, &err) == RSR_OK) {
        const uint32_t most =
            info.context < MOST_STEPS + WARM_STEPS ? info.context / 2 : MOST_STEPS;
        (void)take_steps(engine, sequence, most < WARM_STEPS ? most : WARM_STEPS, &err);
        for (uint32_t r = 0; r < plan->n_ranks; r++)
            before[r] = computed(engine, r, &begin_ns);
        if (rsr_engine_profile(engine, true, NULL, 0, NULL) == RSR_OK)
            n = take_steps(engine, sequence, most, &err);
    }
    rsr_sequence_destroy(sequence);
    plan->fixed_ns = n > 0 ? fixed_time(engine) / n : 0;
    for (uint32_t r = 0; r < plan->n_ranks && n > 0; r++) {
        const double own = (computed(engine, r, &end_ns) - before[r]) / n;
        plan->shared_ns += own - plan->fixed_ns;
        plan->slowest_ns = own > plan->slowest_ns ? own : plan->slowest_ns;
    }
    plan->measured_ns = n > 0 ? (end_ns - begin_ns) / n : 0;
    free(before);
    return n > 0 || run_fail("no step could be measured: %s", err.message) == 0;
}

/* ---- Predictions ---- */

static double token_ns(const struct mpi_plan *plan, uint32_t n_ranks) {
    const double computes = n_ranks == plan->n_ranks && n_ranks > 1
                                ? plan->slowest_ns
                                : plan->fixed_ns + plan->shared_ns / n_ranks;
    return computes + plan->exchange_ns[n_ranks];
}

double mpi_plan_speed(const struct mpi_plan *plan, uint32_t n_ranks) {
    return 1e9 / token_ns(plan, n_ranks);
}

uint32_t mpi_plan_best(const struct mpi_plan *plan) {
    uint32_t best = 1;
    for (uint32_t n = 2; n <= plan->n_ranks; n++)
        if (token_ns(plan, n) < token_ns(plan, best))
            best = n;
    return best;
}

void mpi_plan_print(const struct mpi_plan *plan) {
    const uint32_t n_exchanges =
        GATHERS_A_LAYER * plan->info.n_layers + 2 + has_sketch(&plan->info);
    printf("ranks  tokens/s  ms a token: computed  exchanged (%" PRIu32
           " times)  speed of 1 rank\n",
           n_exchanges);
    for (uint32_t n = 1; n <= plan->n_ranks; n++) {
        const double ns = token_ns(plan, n);
        printf("%5" PRIu32 "  %8.1f  %20.3f  %9.3f %*s %.2f\n", n, 1e9 / ns,
               (ns - plan->exchange_ns[n]) * 1e-6, plan->exchange_ns[n] * 1e-6, 11, "",
               token_ns(plan, 1) / ns);
    }
    printf("measured with %" PRIu32 " ranks: %.1f tokens/s\n", plan->n_ranks,
           1e9 / plan->measured_ns);
}
