/* rsr_mpi.c - rsr-mpi: rsr-run with several ranks of MPI.
 *
 *     mpirun -n 4 rsr-mpi model.so -p "In the beginning"
 *
 * Rank 0 reads, generates and prints; the others compute their part of every step. With --pipeline
 * a part is some layers instead of some rows of all. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mpi_pipeline.h"
#include "mpi_plan.h"
#include "mpi_transport.h"
#include "rank_file.h"
#include "rsr_run.h"

struct mpi_options {
    bool plan, force, pipeline, help;
    uint32_t delay_us, n_sequences; /* n_sequences 0: one text, as rsr-run has it */
    struct mpi_plan *made;          /* NULL: no plan is wanted */
    struct mpi_pipeline *lanes;     /* NULL: there is one engine */
};

static struct mpi_options options;

/* ---- What the ranks did ---- */

/* False: the engine does not say. */
static bool count_rank(const struct run_session *session, uint32_t rank, rsr_rank_info *info) {
    return options.lanes != NULL ? mpi_pipeline_count(options.lanes, rank, info)
                                 : rsr_engine_get_rank(session->engine, rank, info) == RSR_OK;
}

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
        if (!count_rank(session, r, &info))
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
        fprintf(stderr, "; %srank %u%s computes %.1f times as long as the fastest",
                ranks->is_pipeline ? "the others wait for " : "", slowest,
                ranks->is_pipeline ? ", which" : " is slow: it",
                (double)most_ns / (double)least_ns);
    fputc('\n', stderr);
}

/* ---- Before the work ---- */

/* Ranks that did not have the same options would wait for each other. */
static bool agree(const rsr_transport *transport) {
    const uint32_t own[] = {options.pipeline, options.n_sequences, options.plan, options.force};
    uint32_t first[sizeof(own) / sizeof(own[0])];
    rsr_error err = RSR_ERROR_INIT;
    memcpy(first, own, sizeof(own));
    if (transport->bcast(transport->user, first, sizeof(first), 0, &err) != RSR_OK)
        return run_fail("%s", err.message) == 0;
    return memcmp(first, own, sizeof(own)) == 0 ||
           run_fail("--pipeline, --sequences, --plan or --force is not what rank 0 has: give all "
                    "ranks the same options") == 0;
}

static bool prepare(struct run_ranks *ranks, const struct run_session *session) {
    if (!agree(&ranks->transport))
        return false;
    if (options.pipeline)
        mpi_transport_sleep();
    if (ranks->transport.size == 1 || options.pipeline || (options.force && !options.plan))
        return true;
    options.made = mpi_plan_exchanges(&ranks->transport, &session->info);
    return options.made != NULL;
}

static bool opened(struct run_ranks *ranks, const struct run_session *session,
                   const rsr_engine_options *engine_options) {
    if (options.n_sequences > 0)
        options.lanes = mpi_pipeline_create(session, engine_options, options.n_sequences);
    if (options.n_sequences == 0 || options.lanes != NULL)
        return true;
    if (ranks->transport.rank == 0) /* it has said why, and ends the others, which wait for it */
        ranks->have_met = false;
    return false;
}

/* The other engines end before the session's. */
static int end_lanes(int code) {
    mpi_pipeline_destroy(options.lanes);
    options.lanes = NULL;
    return code;
}

static int follow(struct run_ranks *ranks, const struct run_session *session) {
    rsr_error err = RSR_ERROR_INIT;
    (void)ranks;
    if (options.lanes != NULL)
        return end_lanes(mpi_pipeline_follow(options.lanes));
    return rsr_engine_follow(session->engine, &err) == RSR_OK ? 0 : run_fail("%s", err.message);
}

/* Continues the texts of --sequences. Refuses ranks that are slower than fewer of them. */
static int begin(struct run_ranks *ranks, struct run_session *session) {
    const uint32_t n = ranks->transport.size;
    if (options.lanes != NULL) {
        const int code = mpi_pipeline_run(options.lanes, session);
        if (code == 0)
            print_ranks(ranks, session);
        return end_lanes(code);
    }
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

/* ---- The file, and what options mean together ---- */

static char file_name[4096];

static const char *find_model(struct run_ranks *ranks, const char *name) {
    if (rank_file_of(name, ranks->transport.rank, file_name, sizeof(file_name)))
        return file_name;
    run_fail("the name of the model is longer than %zu bytes", sizeof(file_name) - 1);
    return NULL;
}

/* What --sequences does not do: it prints texts alone. */
static const char *refused_option(const struct run_options *o) {
    const struct {
        const char *name;
        bool given;
    } refused[] = {
        {"--json", o->json},
        {"--logprobs", o->logprobs > 0},
        {"--embed", o->pooling != NULL},
        {"--json-schema", o->schema_file != NULL},
        {"--grammar", o->grammar_file != NULL},
        {"--load-kv", o->load_kv != NULL},
        {"--save-kv", o->save_kv != NULL},
        {"--dump-qkv", o->qkv_file != NULL},
    };
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
        if (refused[i].given)
            return refused[i].name;
    return NULL;
}

static bool accept_options(struct run_ranks *ranks, struct run_options *o) {
    const char *refused = options.n_sequences > 0 ? refused_option(o) : NULL;
    if (options.pipeline && (options.plan || options.force))
        return run_fail("%s is about ranks that share out rows: --pipeline has no plan, and runs "
                        "without --force",
                        options.plan ? "--plan" : "--force") == 0;
    if (options.n_sequences > 0 && !options.pipeline)
        return run_fail("--sequences needs --pipeline") == 0;
    if (options.n_sequences > 0 && o->prompt_file == NULL)
        return run_fail("--sequences continues every line of a file: give it with -f") == 0;
    if (refused != NULL)
        return run_fail("--sequences does not go with %s", refused) == 0;
    o->model = find_model(ranks, o->model);
    return o->model != NULL;
}

/* ---- Options ---- */

/* False: it is no number from `least` to `most`. */
static bool read_number(const char *value, uint32_t least, uint32_t most, uint32_t *number) {
    char *end = NULL;
    const unsigned long n = value != NULL ? strtoul(value, &end, 10) : 0;
    if (end == NULL || end == value || *end != '\0' || n < least || n > most)
        return false;
    *number = (uint32_t)n;
    return true;
}

static bool take_delay(const char *value) {
    return read_number(value, 0, 1000000, &options.delay_us) ||
           run_fail("--delay: expected microseconds, from 0 to 1000000") == 0;
}

static bool take_sequences(const char *value) {
    return read_number(value, 1, MPI_MOST_SEQUENCES, &options.n_sequences) ||
           run_fail("--sequences: expected a number from 1 to %u", MPI_MOST_SEQUENCES) == 0;
}

/* Those that rsr-run does not have. */
static const struct mpi_option {
    const char *name, *value;
    bool *flag;                      /* where there is no value */
    bool (*take)(const char *value); /* where there is; NULL: the arguments end. False after a
                                        message */
    const char *help;
} options_table[] = {
    {"--pipeline", NULL, &options.pipeline, NULL,
     "share out layers in place of rows: each process holds some, and a token is no faster"},
    {"--sequences", "N", NULL, take_sequences,
     "with --pipeline and -f: continue every line of the file, N at a time, so that all processes "
     "compute"},
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
         "heads, or its\nlayers (--pipeline). The text has the bytes that rsr-run gives. Every "
         "process opens the same file, or\nits own part: %r in the name is its number, as in "
         "model.%r.so, which rsrc --shard=0/N and so on wrote.\n");
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
    struct run_ranks ranks = {.accept = accept_options,
                              .prepare = prepare,
                              .opened = opened,
                              .follow = follow,
                              .begin = begin,
                              .end = print_ranks,
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
        ranks.is_pipeline = options.pipeline;
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
