/* test_late_worker.c - a worker that is stopped keeps only its current piece: the others compute
 * the rest of its share, with equal bits. The engine also tells how many workers steps use. */
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "engine/engine.h"
#include "fake_module.h"
#include "host/cpu.h"

#define VOCAB 1200u
#define N_TOKENS 24u
#define N_THREADS 3u

static const uint64_t LIMIT_NS = UINT64_C(30000000000); /* then something hangs */

static struct fake_module fake;
static const struct rsr_ops *real_ops;
static pthread_t late;

/* The watched items of one call. */
static struct {
    const void *weights;
    uint32_t n, n_piece; /* items of the call; most items of a piece */
    _Atomic uint32_t n_done, n_late_calls;
    atomic_bool failed;
} watch;

static void wait_until(const _Atomic uint32_t *count, uint32_t least) {
    const uint64_t end = rsr_now_ns() + LIMIT_NS;
    while (atomic_load(count) < least)
        if (rsr_now_ns() > end) {
            atomic_store(&watch.failed, true);
            return;
        }
}

/* Called before items are computed. The others wait until the late worker has begun; the late
 * worker waits until everything but its piece is done. */
static void begin_items(void) {
    if (pthread_equal(pthread_self(), late) == 0)
        wait_until(&watch.n_late_calls, 1);
    else if (atomic_fetch_add(&watch.n_late_calls, 1) == 0)
        wait_until(&watch.n_done, watch.n - watch.n_piece);
}

static void watched_kernel(const void *x, size_t ldx, void *y, size_t ldy, uint32_t n_tokens,
                           const struct rsr_weights *weights, const struct rsr_worker *worker,
                           void *scratch) {
    const uint32_t n = worker->tile_end - worker->tile_begin;
    const bool is_watched = weights->codes == watch.weights;
    if (is_watched)
        begin_items();
    fake_kernel(x, ldx, y, ldy, n_tokens, weights, worker, scratch);
    if (is_watched)
        atomic_fetch_add(&watch.n_done, n);
}

static void watched_head(float *logits, const struct rsr_matrix_data *head, uint32_t row_begin,
                         uint32_t row_end, const float *x) {
    const bool is_watched = head->data == watch.weights;
    if (is_watched)
        begin_items();
    real_ops->head(logits, head, row_begin, row_end, x);
    if (is_watched)
        atomic_fetch_add(&watch.n_done, row_end - row_begin);
}

static void feed(rsr_model *model, uint32_t n_threads, uint32_t n_tokens, float *logits) {
    static uint32_t tokens[N_TOKENS];
    rsr_engine_options options = RSR_ENGINE_OPTIONS_INIT;
    rsr_engine *engine = NULL;
    rsr_sequence *sequence = NULL;
    options.n_threads = n_threads;
    options.all_threads = true;
    CHECK_INT(rsr_runtime_api.engine_create(model, &options, &engine, NULL), RSR_OK);
    CHECK_INT(rsr_runtime_api.sequence_create(engine, &sequence, NULL), RSR_OK);
    for (uint32_t i = 0; i < n_tokens; i++)
        tokens[i] = 7 * i % VOCAB;
    CHECK_INT(fake_feed(engine, sequence, tokens, n_tokens, VOCAB, logits), RSR_OK);
    rsr_runtime_api.sequence_destroy(sequence);
    rsr_runtime_api.engine_destroy(engine);
}

/* Checks the operation with these weights: it has n items, in pieces of at most n_piece. */
static void check_late(rsr_model *model, const void *weights, uint32_t n, uint32_t n_piece,
                       uint32_t n_tokens) {
    static float alone[N_TOKENS * VOCAB], together[N_TOKENS * VOCAB];
    watch.weights = NULL;
    feed(model, 1, n_tokens, alone);
    watch.weights = weights;
    watch.n = n;
    watch.n_piece = n_piece;
    atomic_store(&watch.n_done, 0);
    atomic_store(&watch.n_late_calls, 0);
    feed(model, N_THREADS, n_tokens, together);
    CHECK(!atomic_load(&watch.failed));
    CHECK(atomic_load(&watch.n_late_calls) > 0);
    CHECK_INT(atomic_load(&watch.n_done), n);
    CHECK(memcmp(alone, together, (size_t)n_tokens * VOCAB * sizeof(float)) == 0);
}

/* ---- How many workers steps take ---- */

/* Makes steps of several workers slower than steps of one. */
static void slow_kernel(const void *x, size_t ldx, void *y, size_t ldy, uint32_t n_tokens,
                        const struct rsr_weights *weights, const struct rsr_worker *worker,
                        void *scratch) {
    const struct timespec nap = {.tv_nsec = 200000};
    if (worker->count > 1)
        nanosleep(&nap, NULL);
    fake_kernel(x, ldx, y, ldy, n_tokens, weights, worker, scratch);
}

static uint32_t step_threads(const rsr_engine *engine) {
    rsr_engine_info info = RSR_ENGINE_INFO_INIT;
    CHECK_INT(rsr_runtime_api.engine_get_info(engine, &info), RSR_OK);
    CHECK_INT(info.n_threads, 2);
    return info.n_step_threads;
}

/* Evaluates tokens until steps use one thread, or for most_ns. */
static void step(rsr_engine *engine, uint64_t most_ns) {
    const uint64_t end = rsr_now_ns() + most_ns;
    const uint32_t token = 3;
    rsr_sequence *sequence = NULL;
    CHECK_INT(rsr_runtime_api.sequence_create(engine, &sequence, NULL), RSR_OK);
    while (step_threads(engine) == 2 && rsr_now_ns() < end) {
        CHECK_INT(fake_feed(engine, sequence, &token, 1, VOCAB, NULL), RSR_OK);
        CHECK_INT(rsr_runtime_api.sequence_truncate(sequence, 0, NULL), RSR_OK);
    }
    rsr_runtime_api.sequence_destroy(sequence);
}

static void test_fewer_threads(rsr_model *model, bool all_threads) {
    rsr_engine_options options = RSR_ENGINE_OPTIONS_INIT;
    rsr_engine *engine = NULL;
    options.n_threads = 2;
    options.all_threads = all_threads;
    CHECK_INT(rsr_runtime_api.engine_create(model, &options, &engine, NULL), RSR_OK);
    CHECK_INT(step_threads(engine), 2);
    step(engine, all_threads ? UINT64_C(500000000) : LIMIT_NS);
    CHECK_INT(step_threads(engine), all_threads ? 2 : 1);
    rsr_runtime_api.engine_destroy(engine);
}

/* With all_threads, steps use all threads, even if there are fewer cores. */
static void test_all_threads(rsr_model *model) {
    rsr_engine_options options = RSR_ENGINE_OPTIONS_INIT;
    rsr_engine_info info = RSR_ENGINE_INFO_INIT;
    rsr_engine *engine = NULL;
    options.n_threads = rsr_cpu_cores(rsr_cpu_placed(), RSR_CPU_FOLDER) + 2;
    options.all_threads = true;
    CHECK_INT(rsr_runtime_api.engine_create(model, &options, &engine, NULL), RSR_OK);
    CHECK_INT(rsr_runtime_api.engine_get_info(engine, &info), RSR_OK);
    CHECK_INT(info.n_step_threads, options.n_threads);
    rsr_runtime_api.engine_destroy(engine);
}

int main(void) {
    struct fake_shape shape = fake_small_shape(VOCAB, 64);
    shape.n_layers = 1;
    shape.ffn = 600;
    fake_module_init(&fake, &shape, 5);
    struct rsr_kernel_desc *gate = &fake.kernels[RSR_ROLE_GATE - RSR_ROLE_Q];
    for (uint32_t i = 0; i < FAKE_KERNELS; i++) {
        fake.kernels[i].fn = watched_kernel;
        fake.kernels[i].weight_bytes = 1 << 20; /* worth sharing out */
    }
    rsr_model *model = fake_open(&fake, RSR_OPS_GENERIC);
    real_ops = model->ops;
    struct rsr_ops ops = *real_ops;
    ops.head = watched_head;
    model->ops = &ops;
    late = pthread_self();

    const uint32_t n_tiles = gate->n_tiles, n_piece = n_tiles / N_THREADS / 2 + 1;
    check_late(model, gate->weights.codes, n_tiles, n_piece, 1);
    check_late(model, gate->weights.codes, n_tiles, n_piece, N_TOKENS);
    gate->tables = 1;
    check_late(model, gate->weights.codes, n_tiles, n_piece, 1);
    const uint32_t block_rows = 16, n_blocks = VOCAB / block_rows;
    check_late(model, fake.tensors.head.data, VOCAB, (n_blocks / N_THREADS / 2 + 1) * block_rows,
               1);

    watch.weights = NULL;
    gate->fn = slow_kernel;
    test_fewer_threads(model, false);
    test_fewer_threads(model, true);
    test_all_threads(model);
    rsr_runtime_api.close(model);
    return CHECK_EXIT();
}
