/* run_on_gpu.c - runs kernels that write_gpu_kernels left in a folder on this machine's GPU, and
 * compares every result with the scalar reference bit for bit. Needs the CUDA driver, but no
 * compiler.
 *
 * usage: run_on_gpu [--driver=LIBRARY] [--corrupt] [--bench] [--bytes=N] [--kernel=N] [FOLDER]
 *        run_on_gpu [--driver=LIBRARY] [--bytes=N] --bandwidth=GBPS
 *   no FOLDER tells what GPU there is
 *   --driver  another library than libcuda.so.1
 *   --corrupt changes one code of every kernel's weights: all must be found wrong
 *   --bench   measures the true layers instead
 *   --bytes   the least that is read before a byte is read again [1 GiB]
 *   --kernel  this one alone
 *   --bandwidth measures a copy and a read; GBPS is what the data sheet promises
 *
 * Exits 0: all right; 1: something is wrong; 2: there is no GPU.
 */
#include <stdlib.h>
#include <string.h>

#include "base/round.h"
#include "cuda_driver.h"
#include "emit/ptx/cuda_unit.h"
#include "gpu_bench.h"
#include "gpu_kernel_list.h"
#include "gpu_problem.h"

struct runner {
    struct cuda_driver driver;
    struct gpu_kernel_list list;
    const char *folder, *library;
    void *modules[GPU_MAX_MODULES];
    bool corrupt, bench;
    uint64_t bench_bytes; /* of weights, read once a replay */
    double gbps;          /* of memory, by the data sheet; 0: bandwidths are not measured */
    int only;             /* a kernel, or -1 */
    uint32_t n_run, n_wrong;
};

/* ---- files ----------------------------------------------------------------------------------- */

static FILE *open_file(const struct runner *r, const char *name) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", r->folder, name);
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        perror(path);
        exit(1);
    }
    return file;
}

/* Reads a file and appends a NUL, which PTX needs. */
static char *read_file(const struct runner *r, const char *name) {
    FILE *file = open_file(r, name);
    size_t size = 0, capacity = 1 << 16;
    char *bytes = malloc(capacity);
    for (size_t n; (n = fread(bytes + size, 1, capacity - size - 1, file)) != 0;) {
        size += n;
        if (size + 1 == capacity)
            bytes = realloc(bytes, capacity *= 2);
    }
    bytes[size] = '\0';
    fclose(file);
    return bytes;
}

static void load_all(struct runner *r) {
    FILE *file = open_file(r, GPU_LIST_NAME);
    if (!gpu_kernel_list_read(&r->list, file)) {
        fprintf(stderr, "error: %s/%s is malformed\n", r->folder, GPU_LIST_NAME);
        exit(1);
    }
    fclose(file);
    for (uint32_t m = 0; m < r->list.n_modules; m++) {
        char *image = read_file(r, r->list.modules[m]);
        r->modules[m] = cuda_load(&r->driver, r->list.modules[m], image);
        free(image);
    }
}

/* ---- results --------------------------------------------------------------------------------- */

/* A problem in device memory, each array of exactly the bytes that a kernel may touch. */
struct arrays {
    cuda_address x, rows, codes, scale, y, not_finite;
};

static void upload(const struct cuda_driver *d, const struct gpu_problem *p, struct arrays *out) {
    const uint32_t zero = 0;
    out->x = cuda_copy_of(d, p->x, gpu_problem_x_bytes(p));
    out->rows = cuda_copy_of(d, p->rows, gpu_problem_row_bytes(p));
    out->codes = cuda_copy_of(d, p->codes, p->plan.weight_bytes);
    out->scale = cuda_copy_of(d, p->scale, p->matrix.n_scales * sizeof(float));
    out->y = cuda_copy_of(d, p->y, gpu_problem_y_bytes(p));
    out->not_finite = cuda_copy_of(d, &zero, sizeof zero);
}

static void release(const struct cuda_driver *d, const struct arrays *arrays) {
    const cuda_address all[] = {arrays->x,     arrays->rows, arrays->codes,
                                arrays->scale, arrays->y,    arrays->not_finite};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        CUDA_DO(d, release, all[i]);
}

static bool run(const struct cuda_driver *d, void *kernel, const struct rsr_gpu_entry *entry,
                struct gpu_problem *p, struct arrays *a, uint32_t n_tokens) {
    void *parameters[] = {&a->rows, &p->row_bytes, &a->codes, &a->scale, &a->y, &p->ldy, &n_tokens};
    CUDA_DO(d, fill, a->y, GPU_POISON, gpu_problem_y_bytes(p));
    CUDA_DO(d, launch, kernel, entry->blocks, rsrc_divide_up(n_tokens, entry->token_tile), 1,
            entry->threads, 1, 1, 0, NULL, parameters, NULL);
    CUDA_DO(d, synchronize);
    CUDA_DO(d, download, p->y, a->y, gpu_problem_y_bytes(p));
    return gpu_problem_is_right(p, n_tokens);
}

/* Quantises the floats over the rows that the runtime made. Whether it makes these rows again. */
static bool quantize(const struct cuda_driver *d, void *module, struct gpu_problem *p,
                     enum gpu_values values, struct arrays *a) {
    void *kernel = NULL;
    uint32_t not_finite = 0;
    const size_t size_bytes = gpu_problem_row_bytes(p);
    uint8_t *rows = malloc(size_bytes);
    void *parameters[] = {&a->x, &p->ldx, &a->rows, &p->row_bytes, &p->matrix.cols, &a->not_finite};
    CUDA_DO(d, find_kernel, &kernel, module, RSRC_GPU_QUANTIZE);
    CUDA_DO(d, fill, a->rows, GPU_POISON, size_bytes);
    CUDA_DO(d, fill, a->not_finite, 0, sizeof not_finite);
    CUDA_DO(d, launch, kernel, GPU_TOKENS, 1, 1, RSRC_GPU_QUANTIZE_THREADS, 1, 1, 0, NULL,
            parameters, NULL);
    CUDA_DO(d, synchronize);
    CUDA_DO(d, download, rows, a->rows, size_bytes);
    CUDA_DO(d, download, &not_finite, a->not_finite, sizeof not_finite);
    const bool right = gpu_problem_is_quantized(p, rows, GPU_TOKENS) &&
                       not_finite == gpu_problem_reports(values, GPU_TOKENS);
    free(rows);
    return right;
}

/* The first byte's first weight is that of row 0 and column 0, in both codes. */
static void corrupt(struct gpu_problem *p) {
    p->codes[0] ^= p->plan.codes == RSR_GPU_BITS2 ? 0x01 : 0x80;
}

static void tell_wrong(const struct runner *r, uint32_t m, uint32_t k,
                       const struct rsr_gpu_entry *entry, int values, uint32_t n_tokens) {
    const struct rsr_matvec *plan = &r->list.plans[k];
    fprintf(stderr, "%s: kernel_%u_%u (%s of %s codes, %u x %u, %s): values %d, %u tokens: wrong\n",
            r->list.modules[m], k, entry->token_tile, plan->product == RSR_GPU_MMA ? "mma" : "dot",
            plan->codes == RSR_GPU_BITS2 ? "2-bit" : "base-3", plan->rows, plan->cols,
            plan->epilogue == RSR_EPILOGUE_RAW ? "raw" : "scale", values, n_tokens);
}

/* Runs a function of a kernel with all batches, up to the first wrong one. */
static bool check_entry(struct runner *r, uint32_t m, uint32_t k, const struct rsr_gpu_entry *entry,
                        enum gpu_values values, struct gpu_problem *p, struct arrays *arrays) {
    char name[96];
    snprintf(name, sizeof name, "kernel_%u_%u", k, entry->token_tile);
    void *kernel = NULL;
    CUDA_DO(&r->driver, find_kernel, &kernel, r->modules[m], name);
    for (uint32_t b = 0; b < n_gpu_batches; b++)
        if (!run(&r->driver, kernel, entry, p, arrays, gpu_batches[b])) {
            tell_wrong(r, m, k, entry, (int)values, gpu_batches[b]);
            return false;
        }
    return true;
}

/* Runs all functions of a kernel, and what quantises for them. */
static bool check_batches(struct runner *r, uint32_t m, uint32_t k, enum gpu_values values,
                          struct gpu_problem *p, struct arrays *arrays) {
    struct rsr_gpu_entry entries[RSR_GPU_MAX_FUNCTIONS];
    if (p->plan.epilogue == RSR_EPILOGUE_SCALE &&
        !quantize(&r->driver, r->modules[m], p, values, arrays)) {
        fprintf(stderr, "%s: " RSRC_GPU_QUANTIZE ": %u columns, values %d: wrong\n",
                r->list.modules[m], p->matrix.cols, (int)values);
        return false;
    }
    const uint32_t n = rsrc_gpu_launches(&p->plan, entries);
    for (uint32_t i = 0; i < n; i++)
        if (!check_entry(r, m, k, &entries[i], values, p, arrays))
            return false;
    return true;
}

/* Runs one kernel of every module with all values; a module that was wrong once is not run
 * again. */
static void check_kernel(struct runner *r, uint32_t k) {
    bool right[GPU_MAX_MODULES];
    memset(right, true, sizeof right);
    for (int values = GPU_RANDOM; values < GPU_VALUES_COUNT; values++) {
        struct gpu_problem p;
        uint64_t state = 1000 * (uint64_t)k + (uint64_t)values;
        if (!gpu_problem_make(&p, &r->list.plans[k], (enum gpu_values)values, &state)) {
            fputs("error: the runtime's quantisation is wrong\n", stderr);
            exit(1);
        }
        if (r->corrupt)
            corrupt(&p);
        struct arrays arrays;
        upload(&r->driver, &p, &arrays);
        for (uint32_t m = 0; m < r->list.n_modules; m++)
            right[m] = right[m] && check_batches(r, m, k, (enum gpu_values)values, &p, &arrays);
        release(&r->driver, &arrays);
        gpu_problem_free(&p);
    }
    for (uint32_t m = 0; m < r->list.n_modules; m++)
        r->n_wrong += !right[m];
    r->n_run += r->list.n_modules;
}

/* ---- command line ---------------------------------------------------------------------------- */

static bool read_options(struct runner *r, int argc, char **argv) {
    *r = (struct runner){.library = "libcuda.so.1", .only = -1, .bench_bytes = UINT64_C(1) << 30};
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "--driver=", 9) == 0)
            r->library = argv[i] + 9;
        else if (strcmp(argv[i], "--corrupt") == 0)
            r->corrupt = true;
        else if (strcmp(argv[i], "--bench") == 0)
            r->bench = true;
        else if (strncmp(argv[i], "--bytes=", 8) == 0)
            r->bench_bytes = strtoull(argv[i] + 8, NULL, 10);
        else if (strncmp(argv[i], "--bandwidth=", 12) == 0)
            r->gbps = strtod(argv[i] + 12, NULL);
        else if (strncmp(argv[i], "--kernel=", 9) == 0)
            r->only = atoi(argv[i] + 9);
        else if (argv[i][0] != '-' && r->folder == NULL)
            r->folder = argv[i];
        else
            return false;
    }
    return true;
}

static void print_gpu(const struct cuda_driver *d) {
    char name[128] = "";
    CUDA_DO(d, device_name, name, sizeof name, d->device);
    printf("%s, sm_%d%d, %d multiprocessors\n", name, cuda_attribute(d, CUDA_SM_MAJOR),
           cuda_attribute(d, CUDA_SM_MINOR), cuda_attribute(d, CUDA_SM_COUNT));
}

static int run_folder(struct runner *r) {
    load_all(r);
    for (uint32_t k = 0; k < r->list.n_kernels; k++) {
        if (r->only >= 0 && (uint32_t)r->only != k)
            continue;
        if (!r->bench)
            check_kernel(r, k);
        else if (r->list.full_size[k])
            gpu_bench_kernel(&r->driver, &r->list, k, r->modules, r->bench_bytes);
    }
    if (r->bench)
        return 0;
    printf("%u kernels, %u wrong\n", r->n_run, r->n_wrong);
    return r->n_wrong != 0 || r->n_run == 0;
}

int main(int argc, char **argv) {
    static struct runner r;
    if (!read_options(&r, argc, argv)) {
        fputs("usage: run_on_gpu [--driver=LIBRARY] [--corrupt] [--bench] [--bytes=N] [--kernel=N] "
              "[FOLDER]\n"
              "       run_on_gpu [--driver=LIBRARY] [--bytes=N] --bandwidth=GBPS\n",
              stderr);
        return 1;
    }
    if (!cuda_driver_open(&r.driver, r.library))
        return 2;
    print_gpu(&r.driver);
    int status = r.folder == NULL ? 0 : run_folder(&r);
    if (r.gbps > 0 && !gpu_bench_bandwidth(&r.driver, r.bench_bytes, r.gbps))
        status = 1;
    cuda_driver_close(&r.driver);
    return status;
}
