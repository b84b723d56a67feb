/* rsr_bench_centroids.c - a gate by subspace centroids, with certified radii, or without them as it
 * was published.
 *
 * Keys are cut into slices of 32 dimensions. In every slice k-means puts 1024 keys at a time around
 * 256 centroids, 4 keys a centroid on average, each with the largest distance of a key from it. A
 * query is multiplied by all centroids, and a key's score is the sum of the products of its own
 * centroids. Centroids are bfloat16, and radii are measured from the rounded centroids. With the
 * numbers of its centroids, a key takes 72 bytes at 128 dimensions.
 *
 * With radii, q . k <= sum_s (q_s . c_s + |q_s| r_s) by Cauchy and Schwarz. The sum is in float32.
 * For every slice it has 32 products and sums, a product of rounded factors and a last sum; their
 * error is together less than 2^-17 of |q_s| (|c_s| + r_s), and 2^-100 for underflow. The threshold
 * is lowered by that error.
 *
 * This is a reference to compare with, not a product. Its loops are plain C, laid out for compilers
 * to vectorise: products of 64 centroids at once, dimension by dimension.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "rsr_bench_attention.h"
#include "rsr_bench_gate.h"
#include "sketch/sketch_round.h"

#define SLICE 32u
#define MAX_SLICES (ATTENTION_MAX_DIM / SLICE)
#define CHUNK 1024u /* keys */
#define CENTROIDS 256u
#define TILE 64u /* centroids */
#define ROUNDS 4 /* of k-means */
#define ROUNDING 0x1p-17

/* A chunk of the index. Dimensions are TILE apart, so that lanes are centroids. */
struct chunk_slice {
    uint16_t centres[CENTROIDS / TILE][SLICE][TILE]; /* bfloat16 */
    float radii[CENTROIDS];                          /* rounded up */
    uint8_t of_key[CHUNK];
};

/* The head of the index: the largest norms of centroids and the largest radii, over all chunks. */
struct header {
    double centre[MAX_SLICES], radius[MAX_SLICES];
};

static uint32_t slices_of(const struct bench_gate *gate) {
    return (gate->head_dim + SLICE - 1) / SLICE;
}

static uint32_t chunks_of(const struct bench_gate *gate) {
    return (gate->n_keys + CHUNK - 1) / CHUNK;
}

static uint32_t keys_of_chunk(const struct bench_gate *gate, uint32_t chunk) {
    const uint32_t left = gate->n_keys - chunk * CHUNK;
    return left < CHUNK ? left : CHUNK;
}

static uint32_t centroids_of_chunk(const struct bench_gate *gate, uint32_t chunk) {
    return (keys_of_chunk(gate, chunk) + CHUNK / CENTROIDS - 1) / (CHUNK / CENTROIDS);
}

static struct chunk_slice *slice_at(const struct bench_gate *gate, uint32_t chunk, uint32_t slice) {
    char *first = (char *)gate->memory + sizeof(struct header);
    return (struct chunk_slice *)(void *)first + (size_t)chunk * slices_of(gate) + slice;
}

static size_t centroids_bytes(const struct bench_gate *gate) {
    return sizeof(struct header) +
           (size_t)chunks_of(gate) * slices_of(gate) * sizeof(struct chunk_slice);
}

/* ---- k-means ---- */

struct cluster {
    float x[CHUNK][SLICE];                        /* the keys' slice */
    float centres[CENTROIDS / TILE][SLICE][TILE]; /* as in struct chunk_slice */
    float half_squares[CENTROIDS];                /* |c|^2 / 2; infinite: no centroid */
    float sums[CENTROIDS][SLICE];                 /* of the members */
    uint8_t of_key[CHUNK];
};

/* distances[c] = (|x - c|^2 - |x|^2) / 2 */
BENCH_GATE_BODY void distances_body(const struct cluster *k, const float *x, float *distances) {
    for (uint32_t tile = 0; tile < CENTROIDS / TILE; tile++) {
        float sums[TILE];
        for (uint32_t i = 0; i < TILE; i++)
            sums[i] = k->half_squares[tile * TILE + i];
        for (uint32_t d = 0; d < SLICE; d++)
            for (uint32_t i = 0; i < TILE; i++)
                sums[i] -= x[d] * k->centres[tile][d][i];
        for (uint32_t i = 0; i < TILE; i++)
            distances[tile * TILE + i] = sums[i];
    }
}

BENCH_GATE_VARIANTS(find_distances, distances_body,
                    (const struct cluster *k, const float *x, float *distances), (k, x, distances))

static void assign(struct cluster *k, uint32_t n_keys) {
    float distances[CENTROIDS];
    for (uint32_t j = 0; j < n_keys; j++) {
        uint32_t best = 0;
        find_distances(k, k->x[j], distances);
        for (uint32_t c = 1; c < CENTROIDS; c++)
            best = distances[c] < distances[best] ? c : best;
        k->of_key[j] = (uint8_t)best;
    }
}

static void set_centre(struct cluster *k, uint32_t c, const float *x) {
    float squares = 0.0f;
    for (uint32_t d = 0; d < SLICE; d++) {
        k->centres[c / TILE][d][c % TILE] = x[d];
        squares += x[d] * x[d];
    }
    k->half_squares[c] = 0.5f * squares;
}

/* Moves centroids to the means of their keys; a centroid without keys stays. */
static void move_centres(struct cluster *k, uint32_t n_keys) {
    float(*sums)[SLICE] = k->sums;
    uint32_t members[CENTROIDS] = {0};
    memset(k->sums, 0, sizeof(k->sums));
    for (uint32_t j = 0; j < n_keys; j++) {
        members[k->of_key[j]]++;
        for (uint32_t d = 0; d < SLICE; d++)
            sums[k->of_key[j]][d] += k->x[j][d];
    }
    for (uint32_t c = 0; c < CENTROIDS; c++) {
        for (uint32_t d = 0; members[c] > 0 && d < SLICE; d++)
            sums[c][d] /= (float)members[c];
        if (members[c] > 0)
            set_centre(k, c, sums[c]);
    }
}

static void find_clusters(struct cluster *k, uint32_t n_keys) {
    memset(k->centres, 0, sizeof(k->centres));
    for (uint32_t c = 0; c < CENTROIDS; c++)
        k->half_squares[c] = INFINITY;
    for (uint32_t j = 0; j < n_keys; j += CHUNK / CENTROIDS)
        set_centre(k, j / (CHUNK / CENTROIDS), k->x[j]);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        assign(k, n_keys);
        move_centres(k, n_keys);
    }
    assign(k, n_keys);
}

/* ---- Building ---- */

static float from_bfloat16(uint16_t bits) {
    const uint32_t wide = (uint32_t)bits << 16;
    float x;
    memcpy(&x, &wide, sizeof(x));
    return x;
}

/* Truncates to bfloat16; the radius includes the error. */
static uint16_t to_bfloat16(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof(bits));
    return (uint16_t)(bits >> 16);
}

/* Copies the clusters, and records their sizes. */
static void keep_slice(struct chunk_slice *slice, const struct cluster *k, uint32_t n_keys,
                       double *largest_centre, double *largest_radius) {
    for (uint32_t i = 0; i < CENTROIDS; i++) {
        double squares = 0.0;
        for (uint32_t d = 0; d < SLICE; d++) {
            const uint16_t bits = to_bfloat16(k->centres[i / TILE][d][i % TILE]);
            const double x = (double)from_bfloat16(bits);
            slice->centres[i / TILE][d][i % TILE] = bits;
            squares += x * x;
        }
        *largest_centre = fmax(*largest_centre, rsr_sum_up(sqrt(squares)));
        slice->radii[i] = 0.0f;
    }
    memcpy(slice->of_key, k->of_key, sizeof(slice->of_key));
    for (uint32_t j = 0; j < n_keys; j++) {
        const uint32_t c = k->of_key[j];
        double squares = 0.0;
        for (uint32_t d = 0; d < SLICE; d++) {
            const double x =
                (double)k->x[j][d] - (double)from_bfloat16(slice->centres[c / TILE][d][c % TILE]);
            squares += x * x;
        }
        const float radius = rsr_float_up(rsr_sum_up(sqrt(squares)));
        slice->radii[c] = fmaxf(slice->radii[c], radius);
        *largest_radius = fmax(*largest_radius, (double)radius);
    }
}

static bool build_centroids(struct bench_gate *gate) {
    struct header *header = gate->memory;
    struct cluster *k = calloc(1, sizeof(*k));
    memset(gate->memory, 0, gate->bytes);
    for (uint32_t i = 0; k != NULL && i < chunks_of(gate) * slices_of(gate); i++) {
        const uint32_t chunk = i / slices_of(gate), s = i % slices_of(gate);
        const uint32_t n_keys = keys_of_chunk(gate, chunk);
        for (uint32_t j = 0; j < n_keys; j++) {
            const float *key = gate->keys + ((size_t)chunk * CHUNK + j) * gate->row_floats;
            for (uint32_t d = 0; d < SLICE; d++)
                k->x[j][d] = s * SLICE + d < gate->head_dim ? key[s * SLICE + d] : 0.0f;
        }
        find_clusters(k, n_keys);
        keep_slice(slice_at(gate, chunk, s), k, n_keys, &header->centre[s], &header->radius[s]);
    }
    free(k);
    return k != NULL;
}

/* ---- Products with centroids ---- */

/* A slice of one head's query. */
struct query_slice {
    float q[SLICE];
    float norm; /* rounded up */
};

static void cut_query(const struct bench_gate *gate, const float *q, struct query_slice *slices) {
    for (uint32_t s = 0; s < slices_of(gate); s++) {
        double squares = 0.0;
        for (uint32_t d = 0; d < SLICE; d++) {
            const uint32_t at = s * SLICE + d;
            slices[s].q[d] = at < gate->head_dim ? q[at] : 0.0f;
            squares += (double)slices[s].q[d] * (double)slices[s].q[d];
        }
        slices[s].norm = rsr_float_up(rsr_sum_up(sqrt(squares)));
    }
}

/* scores[c] = q . c + norm r[c] */
BENCH_GATE_BODY void centres_body(const struct chunk_slice *slice, const float *q, float norm,
                                  float *scores) {
    for (uint32_t tile = 0; tile < CENTROIDS / TILE; tile++) {
        float sums[TILE];
        for (uint32_t i = 0; i < TILE; i++)
            sums[i] = norm * slice->radii[tile * TILE + i];
        for (uint32_t d = 0; d < SLICE; d++) {
            for (uint32_t i = 0; i < TILE; i++) {
                const union {
                    uint32_t bits;
                    float value;
                } c = {(uint32_t)slice->centres[tile][d][i] << 16};
                sums[i] += q[d] * c.value;
            }
        }
        for (uint32_t i = 0; i < TILE; i++)
            scores[tile * TILE + i] = sums[i];
    }
}

BENCH_GATE_VARIANTS(score_centres, centres_body,
                    (const struct chunk_slice *slice, const float *q, float norm, float *scores),
                    (slice, q, norm, scores))

/* sums[j] += the score of key j's centroid. */
BENCH_GATE_BODY void gather_body(const uint8_t *of_key, const float *scores, float *sums) {
    for (uint32_t j = 0; j < CHUNK; j++)
        sums[j] += scores[of_key[j]];
}

BENCH_GATE_VARIANTS(gather, gather_body, (const uint8_t *of_key, const float *scores, float *sums),
                    (of_key, scores, sums))

/* A bit for each of 64 numbers that are not below the floor. */
static uint64_t reaching(const float *x, float floor) {
    uint64_t mask = 0;
    for (uint32_t j = 0; j < BENCH_GATE_PAGE; j++)
        mask |= (uint64_t) !(x[j] < floor) << j;
    return mask;
}

static void note_masks(const struct bench_gate *gate, uint32_t chunk, const float *sums,
                       float floor, uint64_t *masks) {
    const uint32_t first = chunk * (CHUNK / BENCH_GATE_PAGE);
    for (uint32_t i = 0; i < CHUNK / BENCH_GATE_PAGE; i++)
        if (first + i < bench_gate_pages_of(gate))
            masks[first + i] = reaching(sums + (size_t)i * BENCH_GATE_PAGE, floor) &
                               bench_gate_all(gate, first + i);
}

static void count_reads(const struct bench_gate *gate, struct bench_gate_counts *counts) {
    counts->scanned += gate->n_keys;
    counts->bytes += (double)gate->bytes;
}

/* ---- With radii ---- */

static bool pick_certified(const struct bench_gate *gate, const struct bench_gate_query *query,
                           uint64_t *masks, struct bench_gate_counts *counts) {
    const struct header *header = gate->memory;
    for (uint32_t h = 0; h < query->n_heads; h++) {
        struct query_slice slices[MAX_SLICES];
        double slack = 0x1p-100;
        cut_query(gate, query->q + (size_t)h * gate->row_floats, slices);
        for (uint32_t s = 0; s < slices_of(gate); s++)
            slack += ROUNDING * (double)slices[s].norm * (header->centre[s] + header->radius[s]);
        const float floor = rsr_float_down(query->thresholds[h] - slack * 1.001);
        for (uint32_t chunk = 0; chunk < chunks_of(gate); chunk++) {
            float scores[CENTROIDS], sums[CHUNK] = {0.0f};
            for (uint32_t s = 0; s < slices_of(gate); s++) {
                const struct chunk_slice *slice = slice_at(gate, chunk, s);
                score_centres(slice, slices[s].q, slices[s].norm, scores);
                gather(slice->of_key, scores, sums);
            }
            note_masks(gate, chunk, sums, floor, masks + (size_t)h * bench_gate_pages_of(gate));
        }
    }
    count_reads(gate, counts);
    return true;
}

const struct bench_gate_kind bench_gate_centroids = {.name = "centroids",
                                                     .bytes = centroids_bytes,
                                                     .build = build_centroids,
                                                     .pick = pick_certified};

/* ---- As published ---- */

/* Maps floats to unsigned numbers in the same order. */
static uint32_t order_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof(bits));
    return bits ^ ((bits >> 31) != 0 ? UINT32_MAX : UINT32_C(0x80000000));
}

static float number_of(uint32_t order) {
    const uint32_t bits = order ^ ((order >> 31) != 0 ? UINT32_C(0x80000000) : UINT32_MAX);
    float x;
    memcpy(&x, &bits, sizeof(x));
    return x;
}

/* Sorts ascending, by 11 bits at a time; `spare` has room for a copy. */
static void sort_orders(uint32_t *x, uint32_t *spare, uint32_t n) {
    for (uint32_t shift = 0; shift < 33; shift += 11) {
        uint32_t starts[2049] = {0};
        for (uint32_t i = 0; i < n; i++)
            starts[(x[i] >> shift & 2047) + 1]++;
        for (uint32_t i = 1; i < 2049; i++)
            starts[i] += starts[i - 1];
        for (uint32_t i = 0; i < n; i++)
            spare[starts[x[i] >> shift & 2047]++] = x[i];
        memcpy(x, spare, n * sizeof(*x));
    }
}

/* Memory for one head's search, for `total` centroids per slice. */
struct search {
    uint32_t total;
    float *scores;    /* [slice][chunk][CENTROIDS] */
    uint32_t *sorted; /* [slice][total]: orders of the scores of all chunks */
    uint32_t *spare;  /* [total] */
    float floors[MAX_SLICES];
};

static void score_all(const struct bench_gate *gate, const struct query_slice *slices,
                      struct search *search) {
    for (uint32_t s = 0; s < slices_of(gate); s++) {
        uint32_t *sorted = search->sorted + (size_t)s * search->total;
        for (uint32_t chunk = 0; chunk < chunks_of(gate); chunk++) {
            float *scores = search->scores + ((size_t)s * chunks_of(gate) + chunk) * CENTROIDS;
            score_centres(slice_at(gate, chunk, s), slices[s].q, 0.0f, scores);
            for (uint32_t c = 0; c < centroids_of_chunk(gate, chunk); c++)
                *sorted++ = order_of(scores[c]);
        }
        sort_orders(sorted - search->total, search->spare, search->total);
    }
}

/* The depth at which scores sum up to less than the threshold; floors are the scores just above
 * it. */
static void find_depth(const struct bench_gate *gate, double threshold, struct search *search) {
    const uint32_t n_slices = slices_of(gate);
    uint32_t depth = 0;
    for (; depth < search->total; depth++) {
        double sum = 0.0;
        for (uint32_t s = 0; s < n_slices; s++)
            sum += (double)number_of(
                search->sorted[(size_t)s * search->total + search->total - 1 - depth]);
        if (sum < threshold)
            break;
    }
    for (uint32_t s = 0; s < n_slices; s++)
        search->floors[s] =
            depth == 0
                ? INFINITY
                : number_of(search->sorted[(size_t)s * search->total + search->total - depth]);
}

/* Selects keys with a centroid above the depth in any slice. */
static void pick_above(const struct bench_gate *gate, const struct search *search,
                       uint64_t *masks) {
    for (uint32_t chunk = 0; chunk < chunks_of(gate); chunk++) {
        float sums[CHUNK] = {0.0f};
        for (uint32_t s = 0; s < slices_of(gate); s++) {
            const float *scores =
                search->scores + ((size_t)s * chunks_of(gate) + chunk) * CENTROIDS;
            float above[CENTROIDS];
            for (uint32_t c = 0; c < CENTROIDS; c++)
                above[c] = scores[c] >= search->floors[s] ? 1.0f : 0.0f;
            gather(slice_at(gate, chunk, s)->of_key, above, sums);
        }
        note_masks(gate, chunk, sums, 1.0f, masks);
    }
}

static bool pick_published(const struct bench_gate *gate, const struct bench_gate_query *query,
                           uint64_t *masks, struct bench_gate_counts *counts) {
    struct search search = {.total = 0};
    for (uint32_t chunk = 0; chunk < chunks_of(gate); chunk++)
        search.total += centroids_of_chunk(gate, chunk);
    const size_t n_slices = slices_of(gate);
    search.scores = calloc(n_slices * chunks_of(gate) * CENTROIDS, sizeof(float));
    search.sorted = calloc(n_slices * search.total, sizeof(uint32_t));
    search.spare = calloc(search.total, sizeof(uint32_t));
    const bool ok = search.scores != NULL && search.sorted != NULL && search.spare != NULL;
    for (uint32_t h = 0; ok && h < query->n_heads; h++) {
        struct query_slice slices[MAX_SLICES];
        cut_query(gate, query->q + (size_t)h * gate->row_floats, slices);
        score_all(gate, slices, &search);
        find_depth(gate, query->thresholds[h], &search);
        pick_above(gate, &search, masks + (size_t)h * bench_gate_pages_of(gate));
    }
    count_reads(gate, counts);
    free(search.scores);
    free(search.sorted);
    free(search.spare);
    return ok;
}

const struct bench_gate_kind bench_gate_centroids_unsafe = {.name = "centroids-unsafe",
                                                            .misses = true,
                                                            .bytes = centroids_bytes,
                                                            .build = build_centroids,
                                                            .pick = pick_published};
