/* gpu_bench.c - measures replays of a graph with events. The graph has a launch for every copy of
 * the weights. The bandwidths are those of one copy, and of one launch that reads. */
#include "gpu_bench.h"

#include <stdlib.h>

#include "emit/ptx/cuda_unit.h"
#include "gpu_problem.h"
#include "gpu_rows.h"

#define WARM_UPS 3u
#define REPEATS 11u
#define L2_TIMES 4u
#define READ_THREADS 256u
#define READ_BLOCKS 8u  /* of a multiprocessor */
#define READ_VECTORS 4u /* of 16 bytes, in flight in a thread */
#define READ_FILL 0x5au
#define READ_LAST UINT32_C(0x12345678) /* the last word: the sum shows that it was read */
#define STREAM_NON_BLOCKING 1u
#define CAPTURE_THREAD_LOCAL 1

struct bench {
    const struct cuda_driver *d;
    void *stream;
    struct gpu_problem problem;
    cuda_address codes; /* n_copies of them */
    uint32_t n_copies;
    cuda_address rows, scale, y;
};

/* What is timed once a repeat. */
typedef void start_fn(const struct cuda_driver *d, void *stream, void *work);

static void measure(const struct cuda_driver *d, void *stream, start_fn *start, void *work,
                    double times_us[REPEATS]) {
    void *begin = NULL, *end = NULL;
    CUDA_DO(d, create_event, &begin, 0);
    CUDA_DO(d, create_event, &end, 0);
    for (uint32_t i = 0; i < WARM_UPS; i++)
        start(d, stream, work);
    for (uint32_t i = 0; i < REPEATS; i++) {
        float ms = 0;
        CUDA_DO(d, record, begin, stream);
        start(d, stream, work);
        CUDA_DO(d, record, end, stream);
        CUDA_DO(d, wait, end);
        CUDA_DO(d, elapsed, &ms, begin, end);
        times_us[i] = (double)ms * 1e3;
    }
}

/* The least that is read between two uses of a byte: the L2 cache holds at most a quarter of it. */
static uint64_t bench_bytes(const struct cuda_driver *d, uint64_t min_bytes) {
    const uint64_t l2 = (uint64_t)cuda_attribute(d, CUDA_L2_BYTES) * L2_TIMES;
    return l2 > min_bytes ? l2 : min_bytes;
}

/* ---- Kernels --------------------------------------------------------------------------------- */

static void start_graph(const struct cuda_driver *d, void *stream, void *graph) {
    CUDA_DO(d, launch_graph, graph, stream);
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

static void fill_codes(struct bench *b, uint64_t min_bytes) {
    const struct rsr_matvec *plan = &b->problem.plan;
    b->n_copies = (uint32_t)(bench_bytes(b->d, min_bytes) / plan->weight_bytes + 1);
    CUDA_DO(b->d, allocate, &b->codes, b->n_copies * plan->weight_bytes);
    CUDA_DO(b->d, upload, b->codes, b->problem.codes, plan->weight_bytes);
    for (uint32_t i = 1; i < b->n_copies; i++)
        CUDA_DO(b->d, copy, b->codes + i * plan->weight_bytes, b->codes, plan->weight_bytes,
                b->stream);
}

static void open_bench(struct bench *b, const struct cuda_driver *d, const struct rsr_matvec *plan,
                       uint64_t min_bytes) {
    uint64_t state = 1;
    *b = (struct bench){.d = d};
    if (!gpu_problem_make(&b->problem, plan, GPU_RANDOM, &state))
        abort(); /* the check before has found that */
    CUDA_DO(d, create_stream, &b->stream, STREAM_NON_BLOCKING);
    b->rows = cuda_copy_of(d, b->problem.rows, gpu_problem_row_bytes(&b->problem));
    b->scale = cuda_copy_of(d, b->problem.scale, b->problem.matrix.n_scales * sizeof(float));
    b->y = cuda_copy_of(d, b->problem.y, gpu_problem_y_bytes(&b->problem));
    fill_codes(b, min_bytes);
    CUDA_DO(d, synchronize);
}

static void close_bench(struct bench *b) {
    const cuda_address all[] = {b->rows, b->scale, b->y, b->codes};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        CUDA_DO(b->d, release, all[i]);
    gpu_problem_free(&b->problem);
}

void gpu_bench_kernel(const struct cuda_driver *d, const struct gpu_kernel_list *list, uint32_t k,
                      void *const modules[], uint64_t min_bytes) {
    struct bench b;
    const struct rsr_matvec *plan = &list->plans[k];
    open_bench(&b, d, plan, min_bytes);
    for (uint32_t m = 0; m < list->n_modules; m++) {
        char name[128];
        struct rsr_gpu_entry entries[RSR_GPU_MAX_FUNCTIONS];
        void *kernel = NULL;
        double times_us[REPEATS];
        (void)rsrc_gpu_launches(plan, entries);
        snprintf(name, sizeof name, "kernel_%u_%u", k, entries[0].token_tile);
        CUDA_DO(d, find_kernel, &kernel, modules[m], name);
        void *graph = capture(&b, kernel);
        measure(d, b.stream, start_graph, graph, times_us);
        for (uint32_t i = 0; i < REPEATS; i++)
            times_us[i] /= b.n_copies;
        snprintf(name, sizeof name, "matvec, %u x %u, %s, %s, %s, %s", plan->rows, plan->cols,
                 plan->product == RSR_GPU_MMA ? "mma" : "dot",
                 plan->codes == RSR_GPU_BITS2 ? "2-bit" : "base-3",
                 plan->epilogue == RSR_EPILOGUE_RAW ? "raw" : "scale", list->modules[m]);
        gpu_row_print(name, plan->weight_bytes, times_us, REPEATS, list->predicted_us[k]);
        CUDA_DO(d, destroy_executable, graph);
    }
    close_bench(&b);
}

/* ---- Bandwidths ------------------------------------------------------------------------------ */

/* Every thread reads vectors of 16 bytes, and leaves the XOR of their words. */
static const char READ_PTX[] =
    ".version 7.0\n.target sm_80\n.address_size 64\n"
    ".visible .entry read_all(.param .u64 from, .param .u64 end, .param .u64 sums)\n{\n"
    ".reg .pred %p<2>;\n.reg .b32 %r<24>;\n.reg .b64 %rd<12>;\n"
    "ld.param.u64 %rd1, [from];\nld.param.u64 %rd2, [end];\nld.param.u64 %rd3, [sums];\n"
    "mov.u32 %r1, %ctaid.x;\nmov.u32 %r2, %ntid.x;\nmov.u32 %r3, %tid.x;\n"
    "mov.u32 %r4, %nctaid.x;\nmad.lo.s32 %r5, %r1, %r2, %r3;\nmul.lo.s32 %r6, %r4, %r2;\n"
    "mul.wide.u32 %rd4, %r5, 16;\nmul.wide.u32 %rd5, %r6, 16;\nadd.s64 %rd6, %rd1, %rd4;\n"
    "mov.u32 %r7, 0;\n"
    "LOOP:\n"
    "add.s64 %rd7, %rd6, %rd5;\nadd.s64 %rd8, %rd7, %rd5;\nadd.s64 %rd9, %rd8, %rd5;\n"
    "ld.global.v4.u32 {%r8, %r9, %r10, %r11}, [%rd6];\n"
    "ld.global.v4.u32 {%r12, %r13, %r14, %r15}, [%rd7];\n"
    "ld.global.v4.u32 {%r16, %r17, %r18, %r19}, [%rd8];\n"
    "ld.global.v4.u32 {%r20, %r21, %r22, %r23}, [%rd9];\n"
    "xor.b32 %r7, %r7, %r8;\nxor.b32 %r7, %r7, %r9;\nxor.b32 %r7, %r7, %r10;\n"
    "xor.b32 %r7, %r7, %r11;\nxor.b32 %r7, %r7, %r12;\nxor.b32 %r7, %r7, %r13;\n"
    "xor.b32 %r7, %r7, %r14;\nxor.b32 %r7, %r7, %r15;\nxor.b32 %r7, %r7, %r16;\n"
    "xor.b32 %r7, %r7, %r17;\nxor.b32 %r7, %r7, %r18;\nxor.b32 %r7, %r7, %r19;\n"
    "xor.b32 %r7, %r7, %r20;\nxor.b32 %r7, %r7, %r21;\nxor.b32 %r7, %r7, %r22;\n"
    "xor.b32 %r7, %r7, %r23;\n"
    "add.s64 %rd6, %rd9, %rd5;\nsetp.lt.u64 %p1, %rd6, %rd2;\n@%p1 bra LOOP;\n"
    "mul.wide.u32 %rd10, %r5, 4;\nadd.s64 %rd11, %rd3, %rd10;\nst.global.u32 [%rd11], %r7;\n"
    "ret;\n}\n";

struct bandwidth {
    cuda_address from, half, end, sums;
    void *kernel;
    uint32_t blocks;
};

static void start_copy(const struct cuda_driver *d, void *stream, void *work) {
    const struct bandwidth *b = work;
    CUDA_DO(d, copy, b->half, b->from, b->half - b->from, stream);
}

static void start_read(const struct cuda_driver *d, void *stream, void *work) {
    struct bandwidth *b = work;
    void *parameters[] = {&b->from, &b->end, &b->sums};
    CUDA_DO(d, launch, b->kernel, b->blocks, 1, 1, READ_THREADS, 1, 1, 0, stream, parameters, NULL);
}

/* Whether all words were read: all are equal but the last one. */
static bool is_sum_right(const struct cuda_driver *d, const struct bandwidth *b) {
    const size_t n = (size_t)b->blocks * READ_THREADS;
    uint32_t *sums = malloc(n * sizeof *sums), sum = 0;
    if (sums == NULL)
        abort();
    CUDA_DO(d, download, sums, b->sums, n * sizeof *sums);
    for (size_t i = 0; i < n; i++)
        sum ^= sums[i];
    free(sums);
    return sum == (READ_LAST ^ READ_FILL * UINT32_C(0x01010101));
}

bool gpu_bench_bandwidth(const struct cuda_driver *d, uint64_t min_bytes, double gbps) {
    struct bandwidth b = {.blocks = (uint32_t)cuda_attribute(d, CUDA_SM_COUNT) * READ_BLOCKS};
    const uint64_t turn = (uint64_t)b.blocks * READ_THREADS * READ_VECTORS * 16;
    const uint64_t n_bytes = (bench_bytes(d, min_bytes) / turn + 1) * turn;
    const uint32_t last = READ_LAST;
    double times_us[REPEATS];
    void *stream = NULL, *module = cuda_load(d, "read_all", READ_PTX);
    CUDA_DO(d, find_kernel, &b.kernel, module, "read_all");
    CUDA_DO(d, create_stream, &stream, STREAM_NON_BLOCKING);
    CUDA_DO(d, allocate, &b.from, n_bytes);
    CUDA_DO(d, allocate, &b.sums, (uint64_t)b.blocks * READ_THREADS * sizeof(uint32_t));
    b.half = b.from + n_bytes / 2;
    b.end = b.from + n_bytes;
    CUDA_DO(d, fill, b.from, READ_FILL, n_bytes);
    CUDA_DO(d, synchronize);
    const double predicted_us = gbps > 0 ? (double)n_bytes / gbps / 1e3 : 0;
    measure(d, stream, start_copy, &b, times_us);
    gpu_row_print("bandwidth, copy", n_bytes, times_us, REPEATS,
                  predicted_us); /* half is written */
    CUDA_DO(d, upload, b.end - sizeof last, &last, sizeof last);
    measure(d, stream, start_read, &b, times_us);
    const bool right = is_sum_right(d, &b);
    if (right)
        gpu_row_print("bandwidth, read", n_bytes, times_us, REPEATS, predicted_us);
    else
        fputs("error: the kernel that reads has not read all\n", stderr);
    CUDA_DO(d, release, b.from);
    CUDA_DO(d, release, b.sums);
    return right;
}
