/* test_fake_cuda.c - the fake libcuda itself: queues, the order of streams, events, graphs,
 * contexts, and its settings. */
#include <string.h>

#include "check.h"
#include "fake_cuda/fake_cuda.h"

#define WORDS 32u
#define NON_BLOCKING 1u

/* words[i] = words[i] * 2 + add; with `first` before the load and `then` after it. */
#define STEP(first, then)                                                                          \
    ".version 7.8\n.target sm_90\n.address_size 64\n"                                              \
    ".visible .entry step(.param .u64 words, .param .u32 add)\n.maxntid 32, 1, 1\n{\n"             \
    ".reg .b32 %r<5>; .reg .b64 %d<4>;\n"                                                          \
    "ld.param.u64 %d0, [words]; ld.param.u32 %r0, [add]; mov.u32 %r1, %tid.x;\n"                   \
    "mul.wide.u32 %d1, %r1, 4; add.s64 %d2, %d0, %d1; " first " ld.global.u32 %r2, [%d2];\n" then  \
    " shl.b32 %r3, %r2, 1; add.s32 %r4, %r3, %r0; st.global.u32 [%d2], %r4; ret;\n}\n"
static const char PTX[] = STEP("", "");

#define DO(call) CHECK_INT(call, FAKE_OK)

/* A device with the kernel and some words. */
struct bench {
    void *context, *module, *kernel, *stream;
    cuda_address words;
};

static void open_bench_of(struct bench *b, const char *ptx) {
    DO(cuInit(0));
    DO(cuDevicePrimaryCtxRetain(&b->context, 0));
    DO(cuCtxPushCurrent_v2(b->context));
    DO(cuModuleLoadDataEx(&b->module, ptx, 0, NULL, NULL));
    DO(cuModuleGetFunction(&b->kernel, b->module, "step"));
    DO(cuStreamCreate(&b->stream, NON_BLOCKING));
    DO(cuMemAlloc_v2(&b->words, WORDS * 4));
    DO(cuMemsetD8_v2(b->words, 0, WORDS * 4));
}

static void open_bench(struct bench *b) {
    open_bench_of(b, PTX);
}

static void close_bench(struct bench *b) {
    DO(cuMemFree_v2(b->words));
    DO(cuStreamDestroy_v2(b->stream));
    DO(cuModuleUnload(b->module));
    DO(cuCtxPopCurrent_v2(NULL));
    DO(cuDevicePrimaryCtxRelease_v2(0));
}

static int step(const struct bench *b, void *stream, uint32_t n) {
    cuda_address words = b->words;
    void *parameters[] = {&words, &n};
    return cuLaunchKernel(b->kernel, 1, 1, 1, WORDS, 1, 1, 0, stream, parameters, NULL);
}

/* The words, without any wait but for the default stream's. */
static uint32_t word_now(const struct bench *b) {
    struct fake_device *device = b->context;
    uint32_t word = UINT32_MAX;
    CHECK(ptx_download(&device->memory, &word, b->words, 4));
    return word;
}

static void test_queues(void) {
    struct bench b;
    open_bench(&b);
    DO(step(&b, b.stream, 1));
    DO(step(&b, b.stream, 1));
    CHECK_INT(word_now(&b), 0);
    DO(cuStreamSynchronize(NULL)); /* another stream's */
    CHECK_INT(word_now(&b), 0);
    DO(cuStreamSynchronize(b.stream));
    CHECK_INT(word_now(&b), 3);

    /* The default stream waits for a blocking one, and not for one that is independent. */
    void *blocking;
    DO(cuStreamCreate(&blocking, 0));
    DO(step(&b, blocking, 1));
    DO(cuMemsetD8Async(b.words, 0, 4, NULL));
    CHECK_INT(word_now(&b), 7);
    DO(step(&b, blocking, 5));
    CHECK_INT(word_now(&b), 0);
    DO(step(&b, b.stream, 1));
    DO(cuMemsetD8Async(b.words, 0, 4, NULL));
    CHECK_INT(word_now(&b), 5);
    DO(cuCtxSynchronize());
    CHECK_INT(word_now(&b), 1); /* 0 by the default stream, then the independent one's step */
    DO(cuStreamDestroy_v2(blocking));
    close_bench(&b);
}

static void test_events(void) {
    struct bench b;
    void *first, *second;
    float milliseconds = 0;
    open_bench(&b);
    DO(cuEventCreate(&first, 0));
    DO(cuEventCreate(&second, 0));
    DO(cuEventRecord(first, b.stream));
    DO(step(&b, b.stream, 1));
    DO(cuEventRecord(second, b.stream));
    DO(step(&b, b.stream, 1));
    CHECK_INT(cuEventElapsedTime(&milliseconds, first, second), FAKE_NOT_READY);
    DO(cuEventSynchronize(second));
    CHECK_INT(word_now(&b), 1); /* what came after the event waits on */
    DO(cuEventElapsedTime(&milliseconds, first, second));
    CHECK(milliseconds > 9e-6f && milliseconds < 11e-6f); /* ten instructions of one warp */
    DO(cuEventDestroy_v2(first));
    DO(cuEventDestroy_v2(second));
    close_bench(&b);
}

/* A graph holds what was captured, and does it at every launch. */
static void test_graphs(void) {
    struct bench b;
    void *graph = NULL, *executable = NULL;
    uint32_t add = 0, word = 9;
    open_bench(&b);
    CHECK_INT(cuStreamBeginCapture_v2(NULL, 0), FAKE_CAPTURE_UNSUPPORTED);
    CHECK_INT(cuStreamEndCapture(b.stream, &graph), FAKE_INVALID_VALUE);
    DO(cuStreamBeginCapture_v2(b.stream, 1));
    CHECK_INT(cuStreamSynchronize(b.stream), FAKE_CAPTURE_UNSUPPORTED);
    DO(cuMemcpyHtoDAsync_v2(b.words, &word, 4, b.stream));
    DO(step(&b, b.stream, add = 3));
    DO(cuMemcpyDtoDAsync_v2(b.words + 8, b.words, 4, b.stream));
    DO(cuMemcpyDtoHAsync_v2(&word, b.words + 8, 4, b.stream));
    DO(cuStreamEndCapture(b.stream, &graph));
    DO(cuStreamSynchronize(b.stream));
    CHECK_INT(word_now(&b), 0);
    DO(cuGraphInstantiateWithFlags(&executable, graph, 0));
    DO(cuGraphDestroy(graph));
    word = 10; /* read when the graph runs */
    DO(cuGraphLaunch(executable, b.stream));
    DO(cuGraphLaunch(executable, b.stream));
    CHECK_INT(word, 10);
    DO(cuStreamSynchronize(b.stream));
    CHECK_INT(word, (10 * 2 + 3) * 2 + 3);
    DO(cuGraphExecDestroy(executable));
    close_bench(&b);
}

/* Three launches, of which the later two begin before the one before has ended. */
static int run_dependents(const char *ptx, uint32_t *word) {
    const struct fake_attribute attribute = {.id = 6, .value.allowed = 1};
    struct bench b;
    uint32_t n = 1;
    open_bench_of(&b, ptx);
    cuda_address words = b.words;
    void *parameters[] = {&words, &n};
    const struct fake_launch launch = {.grid = {1, 1, 1},
                                       .block = {WORDS, 1, 1},
                                       .stream = b.stream,
                                       .attributes = &attribute,
                                       .n_attributes = 1};
    DO(cuMemsetD8Async(b.words, 0, WORDS * 4, b.stream)); /* which launches wait for */
    for (uint32_t i = 0; i < 3; i++)
        DO(cuLaunchKernelEx(&launch, b.kernel, parameters, NULL));
    const int code = cuStreamSynchronize(b.stream);
    *word = word_now(&b);
    DO(cuCtxPopCurrent_v2(NULL));
    DO(cuDevicePrimaryCtxRelease_v2(0));
    return code;
}

/* A dependent launch must wait before it touches what those before it write, and in any case. */
static void test_dependents(void) {
    uint32_t word = 0;
    CHECK_INT(
        run_dependents(STEP("griddepcontrol.launch_dependents; griddepcontrol.wait;", ""), &word),
        FAKE_OK);
    CHECK_INT(word, 7);
    CHECK_INT(run_dependents(STEP("", "griddepcontrol.wait;"), &word), FAKE_LAUNCH_FAILED);
    CHECK_INT(word, 1);
    CHECK(strstr(fake.error.text, "a race") != NULL);
    CHECK_INT(run_dependents(STEP("ret;", ""), &word), FAKE_LAUNCH_FAILED);
    CHECK(strstr(fake.error.text, "has not waited") != NULL);
}

/* An upload of pinned memory reads it when its turn comes, of other memory at once. */
static void test_pinned(void) {
    struct bench b;
    void *memory = NULL;
    uint32_t word = 5;
    open_bench(&b);
    DO(cuMemHostAlloc(&memory, 8, 0));
    uint32_t *pinned = memory;
    CHECK_INT(pinned[0], 0xa5a5a5a5);
    pinned[0] = 6;
    DO(cuMemcpyHtoDAsync_v2(b.words, pinned, 4, b.stream));
    DO(cuMemcpyHtoDAsync_v2(b.words + 4, &word, 4, b.stream));
    DO(cuMemcpyDtoHAsync_v2(pinned + 1, b.words + 4, 4, b.stream));
    pinned[0] = word = 7;
    CHECK_INT(pinned[1], 0xa5a5a5a5);
    DO(cuStreamSynchronize(b.stream));
    CHECK_INT(word_now(&b), 7);
    CHECK_INT(pinned[1], 5);
    CHECK(fake_is_pinned(b.context, pinned + 1, 4) && !fake_is_pinned(b.context, pinned + 1, 5));
    fake.only_pinned = true;
    CHECK_INT(cuMemcpyHtoDAsync_v2(b.words, &word, 4, b.stream), FAKE_INVALID_VALUE);
    CHECK_INT(cuMemcpyDtoHAsync_v2(&word, b.words, 4, b.stream), FAKE_INVALID_VALUE);
    CHECK_INT(cuMemcpyDtoHAsync_v2(pinned + 1, b.words, 8, b.stream), FAKE_INVALID_VALUE);
    DO(cuMemcpyDtoHAsync_v2(pinned, b.words, 8, b.stream));
    fake.only_pinned = false;
    CHECK_INT(cuMemFreeHost(&word), FAKE_INVALID_VALUE);
    DO(cuMemFreeHost(memory));
    CHECK_INT(cuMemHostAlloc(&memory, 0, 0), FAKE_INVALID_VALUE);
    DO(cuMemHostAlloc(&memory, 8, 0)); /* which ends with the context */
    close_bench(&b);
}

/* Calls that the driver would refuse. */
static void test_refusals(void) {
    struct bench b;
    uint32_t word;
    size_t free_bytes = 0, total_bytes = 0;
    open_bench(&b);
    DO(cuMemGetInfo_v2(&free_bytes, &total_bytes));
    CHECK_INT(total_bytes - free_bytes, WORDS * 4);
    CHECK_INT(cuMemFree_v2(b.words + 4), FAKE_INVALID_VALUE);
    CHECK_INT(cuMemcpyDtoH_v2(&word, b.words + WORDS * 4, 4), FAKE_INVALID_VALUE);
    CHECK_INT(cuMemcpyHtoD_v2(0, &word, 4), FAKE_INVALID_VALUE);
    CHECK_INT(cuLaunchKernel(b.kernel, 1, 1, 1, 32, 1, 1, 16, NULL, NULL, NULL),
              FAKE_INVALID_VALUE);
    DO(cuCtxPopCurrent_v2(NULL));
    CHECK_INT(cuMemAlloc_v2(&b.words, 4), FAKE_INVALID_CONTEXT);
    CHECK_INT(cuCtxSynchronize(), FAKE_INVALID_CONTEXT);
    CHECK_INT(cuCtxPopCurrent_v2(NULL), FAKE_INVALID_CONTEXT);
    DO(cuCtxSetCurrent(b.context));
    /* Work that fails is lost with the context: later calls say so. */
    DO(cuMemcpyDtoDAsync_v2(b.words, b.words + 4, 8, b.stream));
    CHECK_INT(cuStreamSynchronize(b.stream), FAKE_INVALID_VALUE);
    CHECK_INT(cuCtxSynchronize(), FAKE_INVALID_VALUE);
    CHECK_INT(cuMemAlloc_v2(&b.words, 4), FAKE_INVALID_VALUE);
    DO(cuDevicePrimaryCtxRelease_v2(0));
    CHECK_INT(cuDevicePrimaryCtxRelease_v2(0), FAKE_INVALID_CONTEXT);
    CHECK_INT(cuMemAlloc_v2(&b.words, 4), FAKE_INVALID_CONTEXT);
}

int main(void) {
    void *context;
    CHECK_INT(cuDevicePrimaryCtxRetain(&context, 0), FAKE_NOT_INITIALIZED);
    test_queues();
    test_events();
    test_graphs();
    test_dependents();
    test_pinned();
    test_refusals();
    return CHECK_EXIT();
}
