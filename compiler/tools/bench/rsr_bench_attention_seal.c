/* rsr_bench_attention_seal.c - the time to make the sketches of a full page, compared with copying
 * its keys.
 *
 * The memory of keys and values is used as pages of a KV cache: 64 keys, then their values, with
 * the KV heads of a page side by side. Output goes to memory larger than any cache, in turn.
 */
#include <stdlib.h>
#include <string.h>

#include "host/cpu.h"
#include "rsr_bench_attention_run.h"

#define WRITTEN_BYTES (UINT64_C(256) << 20)
#define QUICK_BYTES (UINT64_C(1) << 20)

struct sealing {
    const struct attention_bench *b;
    struct louver_setup setup;
    char *written;
    uint64_t n_pages, written_bytes;
};

static struct rsr_kv_rows page_of(const struct sealing *s, uint64_t i) {
    char *rows = (char *)s->b->d.kv + i * rsr_kv_rows_bytes(&s->setup.kv);
    return rsr_kv_rows_at(&s->setup.kv, rows);
}

static void seal(const struct sealing *s, void *to, const struct rsr_kv_rows *rows) {
    louver_seal(&s->setup, to, rows);
}

static void copy(const struct sealing *s, void *to, const struct rsr_kv_rows *rows) {
    memcpy(to, rows->keys, (size_t)RSR_PAGE_TOKENS * s->setup.kv.row_bytes);
}

/* Microseconds a page. */
static double time_pages(const struct sealing *s, uint64_t bytes,
                         void (*make)(const struct sealing *, void *, const struct rsr_kv_rows *)) {
    const uint64_t places = s->written_bytes / bytes, start = rsrc_now_ns();
    for (uint64_t i = 0; i < s->n_pages; i++) {
        const struct rsr_kv_rows rows = page_of(s, i);
        make(s, s->written + i % places * bytes, &rows);
    }
    return (double)(rsrc_now_ns() - start) * 1e-3 / (double)s->n_pages;
}

bool attention_time_sealing(const struct attention_bench *b, double *seal_us, double *copy_us) {
    const uint32_t runs = b->options->runs;
    struct sealing s = {
        .b = b,
        .setup = louver_setup_of(RSR_KV_F32, b->d.head_dim, b->kind->n_planes, b->scale, b->ops,
                                 rsr_cpu_features()),
        .written_bytes = b->options->quick ? QUICK_BYTES : WRITTEN_BYTES,
    };
    s.n_pages = b->d.kv_bytes / rsr_kv_rows_bytes(&s.setup.kv);
    if (s.n_pages == 0)
        return true;
    double *samples = calloc((size_t)2 * runs, sizeof(*samples)), unused;
    s.written = bench_alloc(s.written_bytes);
    const bool fits = samples != NULL && s.written != NULL;
    for (uint32_t i = 0; fits && i < runs; i++) {
        samples[i] = time_pages(&s, louver_sidecar_bytes(&s.setup), seal);
        samples[runs + i] = time_pages(&s, (uint64_t)RSR_PAGE_TOKENS * s.setup.kv.row_bytes, copy);
    }
    if (fits) {
        *seal_us = rsrc_median(samples, runs, &unused);
        *copy_us = rsrc_median(samples + runs, runs, &unused);
    }
    free(samples);
    rsrc_unmap_pages(s.written, s.written_bytes);
    return fits;
}
