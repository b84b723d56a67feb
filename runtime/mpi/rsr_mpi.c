/* rsr_mpi.c - rsr-mpi: rsr-run with several ranks of MPI.
 *
 *     mpirun -n 4 rsr-mpi model.so -p "In the beginning"
 *
 * Rank 0 reads, generates and prints; the others compute their part of every step. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mpi_plan.h"
#include "mpi_transport.h"
#include "rsr_run.h"

/* ---- What the ranks did ---- */

/* A rank that computes this much longer than the fastest one is called slow. */
#define SLOW 1.5

/* A line on stderr: the part of the time that each rank computed, and the slow one. */
static void print_ranks(struct run_ranks *ranks, const struct run_session *session) {
    rsr_rank_info info = RSR_RANK_INFO_INIT;
    uint32_t slowest = 0;
    uint64_t least_ns = UINT64_MAX, most_ns = 0;
    if (ranks->transport.size == 1)
        return;
    fputs("ranks computed", stderr);
    for (uint32_t r = 0; r < ranks->transport.size; r++) {
        if (rsr_engine_get_rank(session->engine, r, &info) != RSR_OK)
            return;
        fprintf(stderr, "%s %.0f%%", r == 0 ? "" : ",",
                100.0 * (double)info.compute_ns / (double)(info.step_ns + 1));
        least_ns = info.compute_ns < least_ns ? info.compute_ns : least_ns;
        slowest = info.compute_ns > most_ns ? r : slowest;
        most_ns = info.compute_ns > most_ns ? info.compute_ns : most_ns;
    }
    fprintf(stderr, " of the time; %llu gathers, %.1f MB", (unsigned long long)info.n_gathers,
            (double)info.gathered_bytes * 1e-6);
    if ((double)most_ns > SLOW * (double)least_ns)
        fprintf(stderr, "; rank %u is slow: it computes %.1f times as long as the fastest", slowest,
                (double)most_ns / (double)least_ns);
    fputc('\n', stderr);
}

/* ---- The plan ---- */

struct mpi_options {
    bool plan, force, help;
    uint32_t delay_us;
    struct mpi_plan *made; /* NULL: no plan is wanted */
};

static struct mpi_options options;

static bool prepare(struct run_ranks *ranks, const struct run_session *session) {
    if (ranks->transport.size == 1 || (options.force && !options.plan))
        return true;
    options.made = mpi_plan_exchanges(&ranks->transport, &session->info);
    return options.made != NULL;
}

/* Refuses ranks that are slower than fewer of them. */
static int begin(struct run_ranks *ranks, struct run_session *session) {
    const uint32_t n = ranks->transport.size;
    if (options.made == NULL && options.plan)
        return run_fail("--plan needs two ranks or more: mpirun -n 2 rsr-mpi ...");
    if (options.made == NULL)
        return RUN_GO_ON;
    if (!mpi_plan_steps(options.made, session->engine))
        return 1;
    const uint32_t best = mpi_plan_best(options.made);
    const double expected = mpi_plan_speed(options.made, n);
    if (options.plan)
        mpi_plan_print(options.made);
    if (best == n)
        return options.plan ? 0 : RUN_GO_ON;
    if (options.plan) {
        printf("%u rank%s would be the fastest; rsr-mpi asks for --force to run with %u\n", best,
               best == 1 ? "" : "s", n);
        return 0;
    }
    if (expected >= mpi_plan_speed(options.made, 1))
        return RUN_GO_ON;
    return run_fail(
        "%u ranks are slower than 1: about %.1f tokens/s in place of %.1f. Use rsr-run, "
        "or --force if one machine has too little memory; --plan shows the times",
        n, expected, mpi_plan_speed(options.made, 1));
}

/* ---- The file ---- */

static char file_name[4096];

/* A rank's own file: every %r of the name is its number. */
static const char *find_model(struct run_ranks *ranks, const char *name) {
    size_t n = 0;
    for (const char *c = name; *c != '\0';) {
        const bool is_rank = c[0] == '%' && c[1] == 'r';
        const size_t left = sizeof(file_name) - n;
        const int put = is_rank ? snprintf(file_name + n, left, "%u", ranks->transport.rank)
                                : snprintf(file_name + n, left, "%c", *c);
        if ((size_t)put >= left) {
            run_fail("the name of the model is longer than %zu bytes", sizeof(file_name) - 1);
            return NULL;
        }
        n += (size_t)put;
        c += is_rank ? 2 : 1;
    }
    return file_name;
}

/* ---- Options ---- */

static bool take_delay(const char *value) {
    char *end = NULL;
    const unsigned long us = value != NULL ? strtoul(value, &end, 10) : 0;
    if (end == NULL || end == value || *end != '\0' || us > 1000000)
        return run_fail("--delay: expected microseconds, from 0 to 1000000") == 0;
    options.delay_us = (uint32_t)us;
    return true;
}

/* Those that rsr-run does not have. */
static const struct mpi_option {
    const char *name, *value;
    bool *flag;                      /* where there is no value */
    bool (*take)(const char *value); /* where there is; NULL: the arguments end. False after a
                                        message */
    const char *help;
} options_table[] = {
    {"--plan", NULL, &options.plan, NULL, "measure, and print how fast 1 to N ranks would be"},
    {"--force", NULL, &options.force, NULL, "run also where N ranks are slower than one"},
    {"--delay", "US", NULL, take_delay,
     "let every exchange take so many microseconds longer, to see what a slower network would do "
     "(0)"},
};
#define N_OPTIONS (sizeof(options_table) / sizeof(options_table[0]))

static void print_help(void) {
    puts("usage: mpirun -n N rsr-mpi MODEL.so (-p TEXT | -f FILE | - | --chat | --perplexity FILE) "
         "[options]\n\n"
         "Runs a model with N processes, of one machine or several, which share out its rows and "
         "heads. The text\nhas the bytes that rsr-run gives. Every process opens the same file, or "
         "its own part: %r in the name\nis its number, as in model.%r.so, which rsrc --shard=0/N "
         "and so on wrote.\n");
    for (size_t i = 0; i < N_OPTIONS; i++) {
        const struct mpi_option *o = &options_table[i];
        char left[32];
        snprintf(left, sizeof(left), "%s%s%s", o->name, o->value != NULL ? " " : "",
                 o->value != NULL ? o->value : "");
        printf("  %-22s %s\n", left, o->help);
    }
    puts("\nThe other options are those of rsr-run. --info and --verify need no ranks and are "
         "refused.\n");
}

static const struct mpi_option *find_option(const char *name) {
    for (size_t i = 0; i < N_OPTIONS; i++)
        if (strcmp(options_table[i].name, name) == 0)
            return &options_table[i];
    return NULL;
}

/* Takes the options of rsr-mpi out of the arguments. False after a message. */
static bool take_options(char **arguments) {
    char **kept = arguments;
    for (char **a = arguments; *a != NULL; a++) {
        const struct mpi_option *o = find_option(*a);
        if (o == NULL) {
            options.help = options.help || strcmp(*a, "--help") == 0 || strcmp(*a, "-h") == 0;
            *kept++ = *a;
        } else if (o->flag != NULL) {
            *o->flag = true;
        } else {
            if (!o->take(a[1]))
                return false;
            a++;
        }
    }
    *kept = NULL;
    return true;
}

int main(int argc, char **argv) {
    static char program[32] = "rsr-mpi";
    struct run_ranks ranks = {.prepare = prepare,
                              .begin = begin,
                              .end = print_ranks,
                              .find_model = find_model,
                              .has_gathered = mpi_transport_has_gathered};
    run_program = program;
    if (argc < 1 || !mpi_transport_begin("rsr-mpi"))
        return 1;
    mpi_transport_open(&ranks.transport);
    run_is_silent = ranks.transport.rank > 0;
    if (run_is_silent)
        snprintf(program, sizeof(program), "rsr-mpi: rank %u", ranks.transport.rank);
    int code = 1;
    ranks.have_met = true;
    if (take_options(argv + 1)) {
        mpi_transport_delay(options.delay_us);
        if (options.help && ranks.transport.rank == 0)
            print_help();
        code = run_main(argv + 1, &ranks);
    }
    mpi_plan_destroy(options.made);
    if (!ranks.have_met)
        mpi_transport_abort();
    mpi_transport_end();
    return code;
}
