/* rsr_bench_attention_report.c - the results of rsr-bench attention as JSON. */
#include <stdio.h>

#include "rsr_bench_attention_run.h"

#define DENSE_SHARE 0.8 /* share of the read bandwidth that dense attention must reach */

/* A line of the result; value NULL: there is none. */
struct row {
    const char *key;
    json_t *value;
};

static void add_rows(json_t *result, const struct row *rows, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (rows[i].value != NULL)
            json_object_set_new(result, rows[i].key, rows[i].value);
}
#define ADD_ROWS(result, rows) add_rows(result, rows, sizeof(rows) / sizeof((rows)[0]))

static json_t *real_or_null(bool known, double value) {
    return known ? json_real(value) : json_null();
}

/* Omits rows that are not timed with this threshold. */
static json_t *real_if_timed(double us) {
    return us > 0.0 ? json_real(us) : NULL;
}

/* Bytes of the index of one layer, and the name of the kernel. */
static bool index_size(const struct attention_bench *b, double *bytes, const char **kernel) {
    rsr_louver_info info = RSR_LOUVER_INFO_INIT;
    if (b->kind->gate == NULL && rsr_louver_get_info(b->indices[0], &info) != RSR_OK)
        return false;
    *bytes = b->kind->gate != NULL ? (double)b->gates[0].bytes : (double)info.index_bytes;
    *kernel = b->kind->gate != NULL ? "plain C" : info.kernel;
    return true;
}

static void add_setting(json_t *result, const struct attention_bench *b, const char *kernel) {
    const struct bench_options *o = b->options;
    const struct row rows[] = {
        {"context", json_integer(b->d.n_keys)},
        {"head_dim", json_integer(b->d.head_dim)},
        {"heads", json_integer(b->d.kv_heads * b->d.group)},
        {"kv_heads", json_integer(b->d.kv_heads)},
        {"data", json_string(o->data)},
        {"threshold", json_string(o->threshold)},
        {"index", json_string(b->kind->name)},
        {"kv_type", json_string(rsr_kv_type_name(b->format.type))},
        {"threads", json_integer(o->threads)},
        {"kernel", json_string(kernel)},
        {"dense_kernel", json_string(b->dense != NULL ? b->dense->name : b->ops->name)},
        {"kv_mib", json_integer((json_int_t)(b->d.kv_bytes >> 20))},
    };
    ADD_ROWS(result, rows);
}

/* Shares of keys and bytes that measured steps read. */
static void add_counts(json_t *result, const struct attention_bench *b, double dense_bytes) {
    const double visits =
        (double)b->options->runs * b->d.n_layers * b->d.kv_heads; /* of an index */
    const double keys = visits * b->d.n_keys, pages = visits * (b->d.n_keys / RSR_PAGE_TOKENS);
    struct attention_counts sum = {0};
    for (uint32_t head = 0; head < b->d.kv_heads; head++) {
        sum.pages_skipped += b->counts[head].pages_skipped;
        sum.scanned += b->counts[head].scanned;
        sum.plane2 += b->counts[head].plane2;
        sum.exact += b->counts[head].exact;
        sum.bytes += b->counts[head].bytes;
    }
    const struct row rows[] = {
        {"scanned_fraction", json_real(sum.scanned / keys)},
        {"plane2_fraction", json_real(sum.plane2 / keys)},
        {"exact_fraction", json_real(sum.exact / keys)},
        {"page_skip_rate", json_real(pages > 0.0 ? sum.pages_skipped / pages : 0.0)},
        {"bytes_read_ratio", json_real(sum.bytes / (dense_bytes * keys))},
    };
    ADD_ROWS(result, rows);
}

static void add_findings(json_t *result, const struct attention_bench *b,
                         const struct attention_findings *found) {
    const double n_queries = attention_n_queries(b), n_needles = n_queries * b->d.n_needles;
    const struct row rows[] = {
        {"sigma", json_real(found->sigma)},
        {"needles_found", n_needles > 0.0 ? json_real((double)found->needles / n_needles) : NULL},
        {"oracle_fraction", louver_has_budget(b->threshold.kind) ? json_real(found->oracle) : NULL},
        {"misses", json_integer((json_int_t)found->misses)},
        {"checked_queries", json_integer((json_int_t)n_queries)},
        {"max_output_error", json_real(found->error)},
        {"certified_error", real_or_null(b->kind->gate == NULL, found->certified)},
        {"certified_relative_error",
         b->threshold.kind == RSR_LOUVER_ERROR ? json_real(found->relative) : NULL},
        {"certified_storage_error", real_or_null(b->format.type != RSR_KV_F32, found->storage)},
        {"dense_error", json_real(found->dense_error)},
    };
    ADD_ROWS(result, rows);
}

json_t *attention_report(const struct attention_bench *b, const struct attention_timings *t,
                         const struct attention_findings *found) {
    double index_bytes;
    const char *kernel;
    if (!index_size(b, &index_bytes, &kernel))
        return NULL;
    const double dense_bytes = 2.0 * (double)b->format.row_bytes; /* of a key */
    const double dense_gbps = dense_bytes * b->d.n_keys * b->d.kv_heads / t->dense_us * 1e-3;
    const bool counts = dense_gbps >= DENSE_SHARE * t->dram_gbps;
    const struct row times[] = {
        {"dense_us", json_real(t->dense_us)},
        {"louver_us", json_real(t->louver_us)},
        {"search_us", real_if_timed(t->search_us)},
        {"all_keys_us", real_if_timed(t->all_keys_us)},
        {"speedup", json_real(t->dense_us / t->louver_us)},
        {"speedup_counts", json_boolean(counts)},
    };
    const struct row costs[] = {
        {"append_us", json_real(t->append_us)},
        {"seal_us", real_if_timed(t->seal_us)},
        {"copy_us", real_if_timed(t->copy_us)},
        {"index_bytes_per_token", json_real(index_bytes / (double)b->d.n_keys)},
        {"dense_read_gbps", json_real(dense_gbps)},
        {"dram_gbps", json_real(t->dram_gbps)},
        {"dense_share", json_real(dense_gbps / t->dram_gbps)},
        {"spread", json_real(t->spread)},
    };
    json_t *result = json_object();
    add_setting(result, b, kernel);
    ADD_ROWS(result, times);
    add_counts(result, b, dense_bytes);
    add_findings(result, b, found);
    ADD_ROWS(result, costs);
    if (!counts && !b->options->quick)
        fprintf(stderr,
                "rsr-bench: warning: dense attention reads %.1f of %.1f GB/s, less than %.0f %%: "
                "the speed-up does not count\n",
                dense_gbps, t->dram_gbps, 100.0 * DENSE_SHARE);
    return result;
}
