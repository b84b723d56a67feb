/* rsr_bench_machine.c - the numbers that a target description needs, of this machine.
 *
 * Bandwidths are measured by reading, everything else by kernels (measure/probe.h). Prints a
 * description for --target, with the source of each number.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mapped_file.h"
#include "emit/llvm/emit_llvm.h"
#include "measure/load_kernel.h"
#include "measure/probe.h"
#include "rsr_bench.h"
#include "spec/spec.h"

/* Prefetching to the second cache is chosen if it is faster by this factor. */
#define LEVEL_GAIN 1.05
#define MAX_LEVELS 8u
/* A line of the description, and its measurement. */
#define MAX_NUMBERS 7u

struct machine {
    const struct bench_options *options;
    struct rsrc_arena *arena;
    struct rsr_spec spec;
    struct level {
        const char *name;
        uint64_t bytes; /* read again and again, by all threads together */
        uint32_t threads;
        double gbps;
    } levels[MAX_LEVELS];
    uint32_t n_levels;
    struct number {
        const char *key;
        double value;
        const char *how;
    } numbers[MAX_NUMBERS];
    uint32_t n_numbers;
};

/* Rounds to three digits, because more are noise. */
static double rounded(double value) {
    char text[32];
    snprintf(text, sizeof(text), "%.3g", value);
    return strtod(text, NULL);
}

/* ---- bandwidths ------------------------------------------------------------------------------ */

/* Uses half a cache, so that the rest of the process fits, too; each thread reads its private
 * caches. */
static const struct cache {
    const char *name;
    int size_name;
    bool shared;
} CACHES[] = {{"L1", _SC_LEVEL1_DCACHE_SIZE, false},
              {"L2", _SC_LEVEL2_CACHE_SIZE, false},
              {"L3", _SC_LEVEL3_CACHE_SIZE, true}};

static void add_level(struct machine *m, const char *name, const void *memory, uint64_t bytes,
                      uint32_t threads) {
    const double gbps = bench_read_gbps(memory, bytes, threads, m->options->runs);
    m->levels[m->n_levels++] = (struct level){name, bytes, threads, rounded(gbps)};
}

/* Finds the best cache level for prefetching. */
static void measure_prefetching(struct machine *m, const void *memory, uint64_t bytes) {
    const double first = rounded(bench_prefetch_gbps(memory, bytes, 1, m->options->runs));
    const double second = rounded(bench_prefetch_gbps(memory, bytes, 2, m->options->runs));
    m->spec.prefetch_level = second > first * LEVEL_GAIN ? 2 : 1;
    m->numbers[m->n_numbers++] = (struct number){
        "prefetch_level", m->spec.prefetch_level,
        rsrc_arena_printf(m->arena, "four streams: %.3g GB/s, to the second cache %.3g", first,
                          second)};
}

static bool measure_bandwidths(struct machine *m, uint32_t threads) {
    const uint64_t total = m->options->quick ? BENCH_QUICK_BYTES : rsrc_stream_bytes();
    uint8_t *memory = bench_alloc(total);
    if (memory == NULL)
        return false;
    bench_pin_threads(threads);
    const uint32_t counts[] = {1, threads};
    for (uint32_t t = 0; t < (threads > 1 ? 2u : 1u); t++) {
        for (size_t i = 0; i < sizeof(CACHES) / sizeof(CACHES[0]); i++) {
            const long size = sysconf(CACHES[i].size_name);
            const uint64_t bytes = size > 0 ? (uint64_t)size / 2 : 0;
            const uint64_t all = CACHES[i].shared ? bytes : bytes * counts[t];
            if (all != 0 && all <= total / 2)
                add_level(m, CACHES[i].name, memory, all, counts[t]);
        }
        add_level(m, "DRAM", memory, total, counts[t]);
        if (t == 0)
            m->spec.read_gbps = m->levels[m->n_levels - 1].gbps;
    }
    measure_prefetching(m, memory, total);
    rsrc_unmap_pages(memory, total);
    m->numbers[m->n_numbers++] = (struct number){
        "read_gbps", m->spec.read_gbps,
        rsrc_arena_printf(m->arena, "one thread over %llu MiB, the best of five loops",
                          (unsigned long long)(total >> 20))};
    return true;
}

/* ---- rates ----------------------------------------------------------------------------------- */

typedef enum rsrc_status probe_fn(struct rsrc_diag *, struct rsrc_arena *,
                                  const struct rsrc_probe_input *, double *, const char **);

static bool measure_rates(struct machine *m, struct rsrc_diag *diag) {
    struct rsrc_toolchain toolchain;
    struct rsrc_probe_input input = {.spec = &m->spec,
                                     .backend = &rsrc_backend_llvm,
                                     .kind = RSR_UNIT_OBJ,
                                     .toolchain = &toolchain};
    const struct rsrc_toolchain_request request = {.triple = m->spec.triple};
    if (rsrc_find_toolchain(diag, m->arena, &request, &toolchain) != RSRC_OK ||
        rsrc_scratch_dir(diag, m->arena, "rsr-bench", &input.dir) != RSRC_OK)
        return false;
    toolchain.compiling = (struct rsrc_spawn_options){.n_jobs = 1};
    const struct {
        const char *key, *what;
        probe_fn *probe;
        double *value;
    } probes[] = {
        {"dot_gmacs", "int8 multiply-adds", rsrc_probe_dot, &m->spec.dot_gmacs},
        {"vector_gips", "vector instructions", rsrc_probe_vector, &m->spec.vector_gips},
        {"fold_gips", "instructions of folded code", rsrc_probe_fold, &m->spec.fold_gips},
        {"panel_gmacs", "int8 multiply-adds of a batch", rsrc_probe_panel, &m->spec.panel_gmacs},
        {"add_gops", "additions with a gathered load", rsrc_probe_additions, &m->spec.add_gops}};
    enum { N_PROBES = sizeof(probes) / sizeof(probes[0]) };
    const char *how[N_PROBES] = {NULL};
    const uint32_t n_runs = m->options->runs;
    double *rates = RSRC_NEW_ARRAY(m->arena, N_PROBES * n_runs, double);
    /* Measures alternately, because other load disturbs the core for a second or two. */
    for (uint32_t i = 0; i < N_PROBES * n_runs; i++) {
        const uint32_t p = i % N_PROBES;
        if (probes[p].probe(diag, m->arena, &input, &rates[p * n_runs + i / N_PROBES], &how[p]) !=
            RSRC_OK)
            return false;
    }
    for (uint32_t p = 0; p < N_PROBES; p++) {
        double spread;
        if (how[p] == NULL)
            continue;
        *probes[p].value = rounded(rsrc_median(&rates[p * n_runs], n_runs, &spread));
        m->numbers[m->n_numbers++] =
            (struct number){probes[p].key, *probes[p].value,
                            rsrc_arena_printf(m->arena, "%s: %s", probes[p].what, how[p])};
    }
    return true;
}

/* ---- printing -------------------------------------------------------------------------------- */

/* The value of the line "read_gbps: 12.4"; NULL: it was not measured. */
static const char *how_of(const struct machine *m, const char *line) {
    for (uint32_t i = 0; i < m->n_numbers; i++) {
        const size_t n = strlen(m->numbers[i].key);
        if (strncmp(line, m->numbers[i].key, n) == 0 && line[n] == ':')
            return m->numbers[i].how;
    }
    return NULL;
}

static void print_yaml(const struct machine *m) {
    struct rsrc_buffer text = {0};
    rsrc_print_spec(&m->spec, &text);
    printf("# %s: features as --print-target=%s has them, rates of one core as measured.\n#\n"
           "# Read bandwidth, GB/s:\n",
           rsrc_cpu_model(m->arena), m->options->target);
    for (uint32_t i = 0; i < m->n_levels; i++)
        printf("#   %-4s %7llu KiB, %u %s: %.4g\n", m->levels[i].name,
               (unsigned long long)(m->levels[i].bytes >> 10), m->levels[i].threads,
               m->levels[i].threads == 1 ? "thread" : "threads", m->levels[i].gbps);
    for (const char *line = (const char *)text.data; *line != '\0';) {
        const size_t n = strcspn(line, "\n");
        const char *how = how_of(m, line);
        printf("%-*.*s%s%s\n", how != NULL ? 24 : 0, (int)n, line, how != NULL ? "# " : "",
               how != NULL ? how : "");
        line += n + (line[n] == '\n');
    }
    rsrc_buffer_free(&text);
}

static void print_json(const struct machine *m) {
    json_t *bandwidths = json_array();
    for (uint32_t i = 0; i < m->n_levels; i++)
        json_array_append_new(bandwidths,
                              json_pack("{s:s, s:I, s:i, s:f}", "level", m->levels[i].name, "bytes",
                                        (json_int_t)m->levels[i].bytes, "threads",
                                        (int)m->levels[i].threads, "gbps", m->levels[i].gbps));
    json_t *result = json_pack("{s:s, s:i, s:I}", "cpu", rsrc_cpu_model(m->arena), "cores",
                               (int)m->spec.cores, "l2_bytes", (json_int_t)m->spec.l2_bytes);
    json_t *how = json_object();
    for (uint32_t i = 0; i < m->n_numbers; i++) {
        json_object_set_new(result, m->numbers[i].key, json_real(m->numbers[i].value));
        json_object_set_new(how, m->numbers[i].key, json_string(m->numbers[i].how));
    }
    json_object_set_new(result, "how", how);
    json_object_set_new(result, "read_bandwidth", bandwidths);
    bench_print(result, true);
}

/* The target's kernels do not use further features of the machine. */
static bool load_target(struct machine *m, struct rsrc_diag *diag) {
    const char *target = m->options->target;
    if (rsrc_load_spec(diag, m->arena, target, NULL, &m->spec) != RSRC_OK)
        return false;
    const char *lacks = rsrc_lacks_for(m->arena, &m->spec);
    if (lacks != NULL)
        fprintf(stderr, "rsr-bench: this machine lacks %s of target %s\n", lacks, target);
    else if (m->spec.vector_bits == 0)
        fprintf(stderr, "rsr-bench: target %s has no vectors to measure\n", target);
    return lacks == NULL && m->spec.vector_bits != 0;
}

int bench_machine(const struct bench_options *options) {
    struct rsrc_diag *diag = rsrc_diag_create(stderr, false, RSRC_COLOR_AUTO);
    struct rsrc_arena arena;
    rsrc_arena_init(&arena);
    struct machine m = {.options = options, .arena = &arena};
    int code = 1;
    if (load_target(&m, diag)) {
        const uint32_t threads = options->threads != 0 ? options->threads : m.spec.cores;
        m.spec.name = "measured";
        if (measure_bandwidths(&m, threads) && measure_rates(&m, diag)) {
            (options->json ? print_json : print_yaml)(&m);
            code = 0;
        }
    }
    rsrc_remove_temporaries();
    rsrc_arena_free(&arena);
    rsrc_diag_destroy(diag);
    return code;
}
