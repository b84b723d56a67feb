/* gpu_bench.c - measures replays of a graph with events. The graph has a launch for every copy of
 * the weights. */
#include "gpu_bench.h"

#include <stdlib.h>

#include "emit/ptx/cuda_unit.h"
#include "gpu_problem.h"

#define WARM_UPS 3u
#define REPEATS 11u
#define MIN_BYTES (1ull << 30) /* of weights, read once a replay */
#define L2_TIMES 4u
#define STREAM_NON_BLOCKING 1u
#define CAPTURE_THREAD_LOCAL 1

struct bench {
    const struct cuda_driver *d;
    void *stream, *begin, *end;
    struct gpu_problem problem;
    cuda_address codes; /* n_copies of them */
    uint32_t n_copies;
    cuda_address rows, scale, y;
};

static int compare_floats(const void *a, const void *b) {
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* The timed work: a graph if there is one, otherwise a copy of one half of the codes to the other
 * half. */
static void start(const struct bench *b, void *graph) {
    const size_t half = b->n_copies / 2 * b->problem.plan.weight_bytes;
    if (graph != NULL)
        CUDA_DO(b->d, launch_graph, graph, b->stream);
    else
        CUDA_DO(b->d, copy, b->codes + half, b->codes, half, b->stream);
}

/* The median, in microseconds. */
static double measure(const struct bench *b, void *graph) {
    float times[REPEATS];
    for (uint32_t i = 0; i < WARM_UPS; i++)
        start(b, graph);
    for (uint32_t i = 0; i < REPEATS; i++) {
        CUDA_DO(b->d, record, b->begin, b->stream);
        start(b, graph);
        CUDA_DO(b->d, record, b->end, b->stream);
        CUDA_DO(b->d, wait, b->end);
        CUDA_DO(b->d, elapsed, &times[i], b->begin, b->end);
    }
    qsort(times, REPEATS, sizeof *times, compare_floats);
    return (double)times[REPEATS / 2] * 1e3;
}

static void *capture(struct bench *b, void *kernel) {
    const struct rsr_matvec *plan = &b->problem.plan;
    uint32_t n_tokens = 1;
    void *graph = NULL, *executable = NULL;
    CUDA_DO(b->d, begin_capture, b->stream, CAPTURE_THREAD_LOCAL);
    for (uint32_t i = 0; i < b->n_copies; i++) {
        cuda_address codes = b->codes + i * plan->weight_bytes;
        void *parameters[] = {&b->rows, &b->problem.row_bytes, &codes,   &b->scale,
                              &b->y,    &b->problem.ldy,       &n_tokens};
        CUDA_DO(b->d, launch, kernel, plan->blocks, 1, 1, rsrc_gpu_threads(plan), 1, 1, 0,
                b->stream, parameters, NULL);
    }
    CUDA_DO(b->d, end_capture, b->stream, &graph);
    CUDA_DO(b->d, instantiate, &executable, graph, 0);
    CUDA_DO(b->d, destroy_graph, graph);
    return executable;
}

static void fill_codes(struct bench *b) {
    const struct rsr_matvec *plan = &b->problem.plan;
    const uint64_t l2 = (uint64_t)cuda_attribute(b->d, CUDA_L2_BYTES) * L2_TIMES;
    const uint64_t bytes = l2 > MIN_BYTES ? l2 : MIN_BYTES;
    b->n_copies = (uint32_t)(bytes / plan->weight_bytes + 1);
    CUDA_DO(b->d, allocate, &b->codes, b->n_copies * plan->weight_bytes);
    CUDA_DO(b->d, upload, b->codes, b->problem.codes, plan->weight_bytes);
    for (uint32_t i = 1; i < b->n_copies; i++)
        CUDA_DO(b->d, copy, b->codes + i * plan->weight_bytes, b->codes, plan->weight_bytes,
                b->stream);
}

static void open_bench(struct bench *b, const struct cuda_driver *d,
                       const struct rsr_matvec *plan) {
    uint64_t state = 1;
    *b = (struct bench){.d = d};
    if (!gpu_problem_make(&b->problem, plan, GPU_RANDOM, &state))
        abort(); /* the check before has found that */
    CUDA_DO(d, create_stream, &b->stream, STREAM_NON_BLOCKING);
    CUDA_DO(d, create_event, &b->begin, 0);
    CUDA_DO(d, create_event, &b->end, 0);
    b->rows = cuda_copy_of(d, b->problem.rows, gpu_problem_row_bytes(&b->problem));
    b->scale = cuda_copy_of(d, b->problem.scale, b->problem.matrix.n_scales * sizeof(float));
    b->y = cuda_copy_of(d, b->problem.y, gpu_problem_y_bytes(&b->problem));
    fill_codes(b);
    CUDA_DO(d, synchronize);
}

static void close_bench(struct bench *b) {
    const cuda_address all[] = {b->rows, b->scale, b->y, b->codes};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        CUDA_DO(b->d, release, all[i]);
    gpu_problem_free(&b->problem);
}

void gpu_bench_kernel(const struct cuda_driver *d, const struct gpu_kernel_list *list, uint32_t k,
                      void *const modules[]) {
    struct bench b;
    const struct rsr_matvec *plan = &list->plans[k];
    open_bench(&b, d, plan);
    /* A copy reads and writes. */
    const double copied = 2.0 * (double)(b.n_copies / 2 * plan->weight_bytes);
    const double copy_gbps = copied / measure(&b, NULL) / 1e3;
    for (uint32_t m = 0; m < list->n_modules; m++) {
        char name[96];
        struct rsr_gpu_entry entries[RSR_GPU_MAX_FUNCTIONS];
        void *kernel = NULL;
        (void)rsrc_gpu_launches(plan, entries);
        snprintf(name, sizeof name, "kernel_%u_%u", k, entries[0].token_tile);
        CUDA_DO(d, find_kernel, &kernel, modules[m], name);
        void *graph = capture(&b, kernel);
        const double us = measure(&b, graph) / b.n_copies;
        const double gbps = (double)plan->weight_bytes / us / 1e3;
        printf("%-11s %s %s %-5s %4u x %4u: %6.2f us (predicted %5.2f), %6.0f GB/s, %3.0f %% of a "
               "copy's %.0f GB/s\n",
               list->modules[m], plan->product == RSR_GPU_MMA ? "mma" : "dot",
               plan->codes == RSR_GPU_BITS2 ? "2-bit " : "base-3",
               plan->epilogue == RSR_EPILOGUE_RAW ? "raw" : "scale", plan->rows, plan->cols, us,
               list->predicted_us[k], gbps, 100 * gbps / copy_gbps, copy_gbps);
        CUDA_DO(d, destroy_executable, graph);
    }
    close_bench(&b);
}
