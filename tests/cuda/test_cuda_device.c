/* test_cuda_device.c - the runtime's driver and devices, on the fake libcuda: every error is the
 * sentence that it should be, work is done in order, and failures stay. */
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "cuda/cuda_device.h"

#define WORDS 64u

/* out[i] = in[i] + add; `add` of 1000 reads out of bounds. */
static const char PTX[] =
    ".version 7.8\n.target sm_80\n.address_size 64\n"
    ".visible .entry add_words(.param .u64 in, .param .u64 out, .param .u32 add)\n"
    ".maxntid 64, 1, 1\n{\n.reg .pred %p<2>; .reg .b32 %r<4>; .reg .b64 %d<6>;\n"
    "ld.param.u64 %d0, [in]; ld.param.u64 %d1, [out]; ld.param.u32 %r0, [add];\n"
    "mov.u32 %r1, %tid.x; mul.wide.u32 %d2, %r1, 4; add.s64 %d3, %d0, %d2;\n"
    "add.s64 %d4, %d1, %d2; setp.eq.s32 %p0, %r0, 1000; @%p0 add.s64 %d3, %d3, 4096;\n"
    "ld.global.u32 %r2, [%d3]; add.s32 %r3, %r2, %r0; st.global.u32 [%d4], %r3; ret;\n}\n";

static rsr_error err = RSR_ERROR_INIT;

static rsr_status open_number(struct rsr_cuda_device *device, uint32_t number) {
    return rsr_cuda_device_open(device, FAKE_CUDA, number, &err);
}

/* Opens device 0 with this setting of the fake driver. */
static rsr_status open_with(struct rsr_cuda_device *device, const char *name, const char *value) {
    setenv(name, value, 1);
    const rsr_status status = open_number(device, 0);
    unsetenv(name);
    return status;
}

#define SAYS(part) CHECK(strstr(err.message, part) != NULL || (fputs(err.message, stderr), false))

/* ---- opening --------------------------------------------------------------------------------- */

static void test_open(void) {
    struct rsr_cuda_device device;
    setenv("FAKE_CUDA_DEVICES", "3", 1);
    CHECK_INT(open_number(&device, 2), RSR_OK);
    CHECK_STR(device.title, "cuda:2 (no GPU but an interpreter, sm_90)");
    CHECK_INT(device.sm, 90);
    CHECK(device.n_bytes == UINT64_C(4) << 30);
    rsr_cuda_device_close(&device, false);
    rsr_cuda_device_close(&device, false); /* zeros */
    CHECK_INT(open_number(&device, 3), RSR_ERR_DEVICE);
    SAYS("there is no device cuda:3: this machine has cuda:0 to cuda:2");
    unsetenv("FAKE_CUDA_DEVICES");
    CHECK_INT(open_number(&device, 1), RSR_ERR_DEVICE);
    SAYS("there is no device cuda:1: this machine has one GPU, cuda:0");
    CHECK_INT(open_with(&device, "FAKE_CUDA_SM", "121"), RSR_OK);
    CHECK_INT(device.sm, 121);
    rsr_cuda_device_close(&device, false);
}

static void test_no_driver(void) {
    struct rsr_cuda_device device;
    CHECK_INT(rsr_cuda_device_open(&device, "libno_cuda.so.1", 0, &err), RSR_ERR_DEVICE);
    SAYS("no CUDA driver: libno_cuda.so.1: cannot open");
    SAYS("install NVIDIA's driver");
    CHECK_INT(rsr_cuda_device_open(&device, "libc.so.6", 0, &err), RSR_ERR_DEVICE);
    SAYS("libc.so.6 is no CUDA driver: it has no cu");
    CHECK_INT(open_with(&device, "FAKE_CUDA_VERSION", "10020"), RSR_ERR_DEVICE);
    SAYS("the CUDA driver is too old: it has version 10.2, and cuGraphInstantiateWithFlags needs "
         "11.4 or later");
    CHECK_INT(open_with(&device, "FAKE_CUDA_VERSION", "11040"), RSR_OK);
    rsr_cuda_device_close(&device, false);
    CHECK_INT(open_with(&device, "FAKE_CUDA_DEVICES", "0"), RSR_ERR_DEVICE);
    SAYS("the CUDA driver sees no GPU");
    CHECK_INT(open_with(&device, "FAKE_CUDA_FAIL", "cuInit:1:34"), RSR_ERR_DEVICE);
    SAYS("a toolkit's stub");
    CHECK_INT(open_with(&device, "FAKE_CUDA_FAIL", "cuInit:1:803"), RSR_ERR_DEVICE);
    SAYS("different versions");
    CHECK_INT(open_with(&device, "FAKE_CUDA_FAIL", "cuInit:1:999"), RSR_ERR_DEVICE);
    SAYS("the CUDA driver does not start: error 999 of the fake driver (999)");
}

/* Whatever fails while a device is opened, nothing is left: each time it can be opened again. */
static void test_failing_open(void) {
    static const char *const calls[] = {"cuDeviceGetCount",    "cuDeviceGet",
                                        "cuDeviceGetName",     "cuDeviceGetAttribute",
                                        "cuDeviceTotalMem_v2", "cuDevicePrimaryCtxRetain",
                                        "cuCtxPushCurrent_v2", "cuStreamCreate"};
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        struct rsr_cuda_device device;
        char fail[64];
        snprintf(fail, sizeof fail, "%s:1:46", calls[i]);
        CHECK_INT(open_with(&device, "FAKE_CUDA_FAIL", fail), RSR_ERR_DEVICE);
        SAYS("cuda:0 cannot be used: error 46 of the fake driver (46)");
        CHECK(device.library.handle == NULL && device.context == NULL);
        CHECK_INT(open_number(&device, 0), RSR_OK);
        rsr_cuda_device_close(&device, false);
    }
}

/* The driver does not work in a child, and the child ends what it has without the driver. */
static void test_fork(void) {
    struct rsr_cuda_device device, another;
    CHECK_INT(open_number(&device, 0), RSR_OK);
    fflush(NULL);
    const pid_t child = fork();
    if (child == 0) {
        rsr_cuda_device_close(&device, true);
        const rsr_status status = open_number(&another, 0);
        _exit(status == RSR_ERR_FORK && strstr(err.message, "forked from one that uses CUDA") ? 0
                                                                                              : 1);
    }
    int code = -1;
    CHECK(waitpid(child, &code, 0) == child);
    CHECK_INT(code, 0);
    CHECK_INT(rsr_cuda_wait(&device, &err), RSR_OK);
    rsr_cuda_device_close(&device, false);
}

/* ---- memory ---------------------------------------------------------------------------------- */

static void test_memory(void) {
    struct rsr_cuda_device device;
    CHECK_INT(open_with(&device, "FAKE_CUDA_MEMORY", "3145728"), RSR_OK);
    struct rsr_cuda_part parts[] = {{.name = "buffers", .n_bytes = 1024},
                                    {.name = "weights", .n_bytes = 3u << 20},
                                    {"none", 0, 0}};
    CHECK_INT(rsr_cuda_take(&device, parts, 3, &err), RSR_ERR_MEMORY);
    CHECK_STR(
        err.message,
        "cuda:0 (no GPU but an interpreter, sm_90) has too little memory: 3.00 MiB are needed "
        "and 3.00 MiB are free; the weights take most of it, 3.00 MiB");
    CHECK(parts[0].address == 0 && parts[1].address == 0);
    parts[1].n_bytes = (3u << 20) - 1024; /* what was taken before is free again */
    CHECK_INT(rsr_cuda_take(&device, parts, 3, &err), RSR_OK);
    CHECK(parts[0].address != 0 && parts[1].address != 0 && parts[2].address == 0);
    struct rsr_cuda_part more = {.name = "pages", .n_bytes = UINT64_MAX};
    CHECK_INT(rsr_cuda_take(&device, &more, 1, &err), RSR_ERR_MEMORY);
    SAYS("0 bytes are free; the pages take most of it, 16777216.00 TiB");
    struct rsr_cuda_part huge[] = {{.name = "a", .n_bytes = UINT64_MAX},
                                   {.name = "b", .n_bytes = 2}};
    CHECK_INT(rsr_cuda_take(&device, huge, 2, &err), RSR_ERR_MEMORY);
    rsr_cuda_give_back(&device, parts, 3);
    CHECK(parts[0].address == 0 && parts[1].address == 0);
    CHECK_INT(rsr_cuda_take(&device, parts, 3, &err), RSR_OK);
    rsr_cuda_device_close(&device, false);
}

static void test_pinned(void) {
    struct rsr_cuda_device device;
    void *memory = NULL;
    CHECK_INT(open_with(&device, "FAKE_CUDA_FAIL", "cuMemHostAlloc:2:2,cuMemHostAlloc:3:999"),
              RSR_OK);
    CHECK_INT(rsr_cuda_pin(&device, 4096, &memory, &err), RSR_OK);
    rsr_cuda_unpin(&device, memory);
    rsr_cuda_unpin(&device, NULL);
    CHECK_INT(rsr_cuda_pin(&device, 5000, &memory, &err), RSR_ERR_DEVICE);
    SAYS("cuda:0 (no GPU but an interpreter, sm_90): the host has no 4.88 KiB of memory that can "
         "be pinned; a smaller max_batch or context takes less");
    CHECK_INT(rsr_cuda_pin(&device, 4096, &memory, &err), RSR_ERR_DEVICE);
    SAYS("pinning the host's memory failed: error 999 of the fake driver (999)");
    rsr_cuda_device_close(&device, false);
}

/* ---- kernels --------------------------------------------------------------------------------- */

static void test_load(void) {
    struct rsr_cuda_device device;
    void *module = NULL;
    CHECK_INT(open_number(&device, 0), RSR_OK);
    CHECK_INT(rsr_cuda_load(&device, ".version 7.8\nnonsense\n", &module, &err), RSR_ERR_DEVICE);
    SAYS(
        "cuda:0 (no GPU but an interpreter, sm_90): the driver refuses the model's code: error 218 "
        "of the fake driver (218): fake_cuda: line 2: ");
    CHECK(strchr(err.message, '?') == NULL); /* a line end would be one */
    CHECK_INT(rsr_cuda_load(&device, "\177ELF", &module, &err), RSR_ERR_DEVICE);
    SAYS("which is for other GPUs; compile the model with --target sm_90,native");
    CHECK(module == NULL);
    rsr_cuda_device_close(&device, false);
    CHECK_INT(open_with(&device, "FAKE_CUDA_SM", "75"), RSR_OK);
    CHECK_INT(rsr_cuda_load(&device, PTX, &module, &err), RSR_ERR_DEVICE);
    SAYS("compile the model with --target sm_75,native");
    rsr_cuda_device_close(&device, false);
    CHECK_INT(
        open_with(&device, "FAKE_CUDA_FAIL", "cuModuleLoadDataEx:1:222,cuModuleLoadDataEx:2:2"),
        RSR_OK);
    CHECK_INT(rsr_cuda_load(&device, PTX, &module, &err), RSR_ERR_DEVICE);
    SAYS("too old for the PTX");
    CHECK_INT(rsr_cuda_load(&device, PTX, &module, &err), RSR_ERR_MEMORY);
    CHECK_INT(rsr_cuda_load(&device, PTX, &module, &err), RSR_OK);
    struct rsr_cuda_kernel kernel;
    CHECK_INT(rsr_cuda_find(&device, module, "nothing", &kernel, &err), RSR_ERR_DEVICE);
    SAYS("the model's code has no kernel nothing");
    rsr_cuda_unload(&device, module);
    rsr_cuda_device_close(&device, false);
}

/* A device with the kernel and two arrays of words. */
struct adder {
    struct rsr_cuda_device device;
    void *module;
    struct rsr_cuda_kernel kernel;
    struct rsr_cuda_part parts[2];
};

static void open_adder(struct adder *a, const char *failures) {
    *a = (struct adder){.parts = {{"inputs", WORDS * 4, 0}, {"outputs", WORDS * 4, 0}}};
    CHECK_INT(open_with(&a->device, "FAKE_CUDA_FAIL", failures), RSR_OK);
    CHECK_INT(rsr_cuda_load(&a->device, PTX, &a->module, &err), RSR_OK);
    CHECK_INT(rsr_cuda_find(&a->device, a->module, "add_words", &a->kernel, &err), RSR_OK);
    CHECK_INT(rsr_cuda_take(&a->device, a->parts, 2, &err), RSR_OK);
}

static rsr_status add(struct adder *a, uint32_t from, uint32_t to, uint32_t n) {
    void *parameters[] = {&a->parts[from].address, &a->parts[to].address, &n};
    const struct rsr_cuda_size size = {1, 1, WORDS, 0};
    return rsr_cuda_launch(&a->device, &a->kernel, &size, parameters, &err);
}

/* Results are there after the wait, and not before. */
static void test_work(void) {
    struct adder a;
    open_adder(&a, "none:1:1");
    uint32_t words[WORDS], results[WORDS] = {0};
    for (uint32_t i = 0; i < WORDS; i++)
        words[i] = i;
    CHECK_INT(rsr_cuda_upload(&a.device, a.parts[0].address, words, sizeof words, &err), RSR_OK);
    memset(words, 0, sizeof words); /* the upload has read them */
    CHECK_INT(add(&a, 0, 1, 5), RSR_OK);
    CHECK_INT(add(&a, 1, 0, 100), RSR_OK);
    CHECK_INT(rsr_cuda_download(&a.device, results, a.parts[0].address, sizeof results, &err),
              RSR_OK);
    CHECK_INT(results[1], 0);
    CHECK_INT(rsr_cuda_wait(&a.device, &err), RSR_OK);
    for (uint32_t i = 0; i < WORDS; i++)
        CHECK_INT(results[i], i + 105);
    rsr_cuda_unload(&a.device, a.module);
    rsr_cuda_device_close(&a.device, false);
}

/* A graph does what was captured, whenever it is launched, with what memory holds then. */
static void test_graph(void) {
    struct adder a;
    void *graph = NULL;
    uint32_t words[WORDS], results[WORDS] = {0};
    open_adder(&a, "none:1:1");
    CHECK_INT(rsr_cuda_begin_graph(&a.device, &err), RSR_OK);
    CHECK_INT(add(&a, 0, 1, 5), RSR_OK);
    CHECK_INT(rsr_cuda_copy(&a.device, a.parts[0].address, a.parts[1].address, 8, &err), RSR_OK);
    CHECK_INT(rsr_cuda_fill(&a.device, a.parts[1].address, 0xff, 4, &err), RSR_OK);
    CHECK_INT(rsr_cuda_end_graph(&a.device, &graph, &err), RSR_OK);
    for (uint32_t run = 1; run <= 2; run++) {
        for (uint32_t i = 0; i < WORDS; i++)
            words[i] = i * run;
        CHECK_INT(rsr_cuda_upload(&a.device, a.parts[0].address, words, sizeof words, &err),
                  RSR_OK);
        CHECK_INT(rsr_cuda_launch_graph(&a.device, graph, &err), RSR_OK);
        CHECK_INT(rsr_cuda_launch_graph(&a.device, graph, &err), RSR_OK);
        CHECK_INT(rsr_cuda_download(&a.device, results, a.parts[1].address, sizeof results, &err),
                  RSR_OK);
        CHECK_INT(rsr_cuda_wait(&a.device, &err), RSR_OK);
        CHECK(results[0] == UINT32_MAX);
        CHECK_INT(results[1], run + 10); /* its input was copied once more */
        CHECK_INT(results[9], 9 * run + 5);
    }
    rsr_cuda_drop_graph(&a.device, graph);
    rsr_cuda_drop_graph(&a.device, NULL);
    rsr_cuda_unload(&a.device, a.module);
    rsr_cuda_device_close(&a.device, false);
}

/* After a failure every call says what had failed. */
static void expect_lost(struct adder *a, const char *what) {
    uint32_t word = 0;
    void *module = NULL;
    struct rsr_cuda_part part = {"parts", 16, 0};
    SAYS(what);
    SAYS("the engine cannot be used any more");
#define LOST(call)                                                                                 \
    do {                                                                                           \
        err.message[0] = '\0';                                                                     \
        CHECK_INT(call, RSR_ERR_DEVICE);                                                           \
        SAYS(what);                                                                                \
    } while (0)
    LOST(rsr_cuda_wait(&a->device, &err));
    LOST(add(a, 0, 1, 1));
    LOST(rsr_cuda_upload(&a->device, a->parts[0].address, &word, 4, &err));
    LOST(rsr_cuda_download(&a->device, &word, a->parts[0].address, 4, &err));
    LOST(rsr_cuda_take(&a->device, &part, 1, &err));
    LOST(rsr_cuda_load(&a->device, PTX, &module, &err));
    LOST(rsr_cuda_copy(&a->device, a->parts[0].address, a->parts[1].address, 4, &err));
    LOST(rsr_cuda_fill(&a->device, a->parts[0].address, 0, 4, &err));
    LOST(rsr_cuda_begin_graph(&a->device, &err));
    LOST(rsr_cuda_launch_graph(&a->device, &word, &err));
    rsr_cuda_give_back(&a->device, a->parts, 2);
    rsr_cuda_unload(&a->device, a->module);
    rsr_cuda_device_close(&a->device, false);
}

static void test_failures(void) {
    struct adder a;
    uint32_t words[WORDS] = {0};
    open_adder(&a, "none:1:1");
    CHECK_INT(rsr_cuda_upload(&a.device, a.parts[0].address, words, sizeof words, &err), RSR_OK);
    CHECK_INT(add(&a, 0, 1, 1000), RSR_OK); /* fails later */
    CHECK_INT(rsr_cuda_wait(&a.device, &err), RSR_ERR_DEVICE);
    SAYS("out of bounds");
    expect_lost(&a, "kernel add_words failed: line ");

    open_adder(&a, "none:1:1");
    CHECK_INT(rsr_cuda_upload(&a.device, a.parts[0].address, words, sizeof words, &err), RSR_OK);
    for (uint32_t i = 0; i < 3; i++)
        CHECK_INT(add(&a, 0, 1, 1000), RSR_OK);
    CHECK_INT(rsr_cuda_wait(&a.device, &err), RSR_ERR_DEVICE);
    expect_lost(&a, "kernel add_words, or one of 2 before it, failed: line ");

    open_adder(&a, "cuLaunchKernel:2:701");
    CHECK_INT(rsr_cuda_upload(&a.device, a.parts[0].address, words, sizeof words, &err), RSR_OK);
    CHECK_INT(add(&a, 0, 1, 1), RSR_OK);
    CHECK_INT(rsr_cuda_wait(&a.device, &err), RSR_OK);
    CHECK_INT(add(&a, 0, 1, 1), RSR_ERR_DEVICE);
    expect_lost(&a, "kernel add_words failed: error 701 of the fake driver (701)");

    open_adder(&a, "cuMemcpyHtoDAsync_v2:1:700");
    CHECK_INT(rsr_cuda_upload(&a.device, a.parts[0].address, words, sizeof words, &err),
              RSR_ERR_DEVICE);
    expect_lost(&a, "a copy to the device failed: error 700");

    void *graph = NULL;
    open_adder(&a, "none:1:1");
    CHECK_INT(rsr_cuda_begin_graph(&a.device, &err), RSR_OK);
    CHECK_INT(add(&a, 0, 1, 1000), RSR_OK);
    CHECK_INT(rsr_cuda_end_graph(&a.device, &graph, &err), RSR_OK);
    CHECK_INT(rsr_cuda_wait(&a.device, &err), RSR_OK); /* nothing ran */
    CHECK_INT(rsr_cuda_launch_graph(&a.device, graph, &err), RSR_OK);
    CHECK_INT(rsr_cuda_wait(&a.device, &err), RSR_ERR_DEVICE);
    rsr_cuda_drop_graph(&a.device, graph);
    expect_lost(&a, "a kernel of a step that runs as a graph (cuda:0,plain says which) failed: ");

    open_adder(&a, "cuMemAlloc_v2:3:700");
    struct rsr_cuda_part parts[] = {{"parts", 16, 0}};
    CHECK_INT(rsr_cuda_take(&a.device, parts, 1, &err), RSR_ERR_DEVICE);
    expect_lost(&a, "taking memory failed: error 700");
}

int main(void) {
    test_open();
    test_no_driver();
    test_failing_open();
    test_fork();
    test_memory();
    test_pinned();
    test_load();
    test_work();
    test_graph();
    test_failures();
    return CHECK_EXIT();
}
