/* gpu_units.c - compiles the kernels of GPUs: to files of PTX or cubins, and to the images of a
 * module.
 *
 * One file has the kernels of all layers; a directory has one file per layer, named after the
 * kernel of decode. An image has one function for kernels of equal code, named after the first.
 */
#include <string.h>

#include "driver/compilation.h"
#include "driver/gpu_operations.h"
#include "emit/ptx/cubin.h"

/* The kernels of a GPU in the order of layers, and the report that each belongs to. */
struct kernel_list {
    struct rsr_kernel *kernels;
    struct rsr_report_layer **reports;
    uint32_t n;
};

static struct kernel_list list_kernels(struct rsrc_compilation *c, uint32_t target) {
    const size_t most = (size_t)c->inputs.n_items * RSR_REGIME_COUNT;
    const struct rsr_kernel *kept = &c->made.gpu_kernels[target * most];
    struct kernel_list list = {.kernels = RSRC_NEW_ARRAY(&c->run.arena, most, struct rsr_kernel),
                               .reports =
                                   RSRC_NEW_ARRAY(&c->run.arena, most, struct rsr_report_layer *)};
    for (size_t i = 0; i < most; i++) {
        if (kept[i].symbol == NULL) /* the kernel of decode serves prefill */
            continue;
        list.kernels[list.n] = kept[i];
        list.reports[list.n++] =
            &c->made.reports[(size_t)target * c->inputs.n_items + i / RSR_REGIME_COUNT];
    }
    return list;
}

/* What compiles kernels, and its cache, for a target. */
struct compiler {
    struct rsrc_ptx_of_target target;
    struct rsrc_ptx_store store;
    struct rsrc_ptx_options options;
};

static void set_compiler(struct rsrc_compilation *c, uint32_t target, enum rsr_unit_kind kind,
                         struct compiler *out) {
    out->target = (struct rsrc_ptx_of_target){&c->run, &c->inputs.specs[target]};
    out->store = rsrc_ptx_store(&out->target);
    out->options = (struct rsrc_ptx_options){.title = rsrc_model_name(&c->inputs),
                                             .spec = out->target.spec,
                                             .kind = kind,
                                             .cuda_path = c->run.options->cuda_path,
                                             .cuda_cc = c->run.options->cuda_cc,
                                             .spawn = &c->run.toolchain.compiling,
                                             .store = &out->store};
}

/* Reads what a cubin says about the functions that decode one token. */
static void note_registers(const struct rsrc_buffer *cubin, const struct kernel_list *list,
                           uint32_t first, uint32_t n) {
    for (uint32_t i = first; i < first + n; i++) {
        struct rsr_report_launch *launch = &list->reports[i]->launch;
        const char *symbol = list->kernels[i].symbol;
        if (strncmp(launch->symbol, symbol, strlen(symbol)) == 0) /* not prefill's */
            launch->registers =
                rsrc_cubin_registers(cubin->data, cubin->size_bytes, launch->symbol);
    }
}

/* ---- files ----------------------------------------------------------------------------------- */

/* How many kernels, from this one on, are of its layer. */
static uint32_t count_of_layer(const struct kernel_list *list, uint32_t first) {
    uint32_t n = 1;
    while (first + n < list->n && list->reports[first + n] == list->reports[first])
        n++;
    return n;
}

/* Writes n kernels: as a file of the directory, or as the one file that has all. */
static enum rsrc_status emit_file(struct rsrc_compilation *c, const struct rsrc_kind *kind,
                                  struct rsrc_ptx *ptx, const struct kernel_list *list,
                                  uint32_t first, uint32_t n) {
    const struct rsr_kernel *kernels = &list->kernels[first];
    const char *dir = c->outputs.temporary_dir;
    struct rsrc_buffer out = {0};
    enum rsrc_status status = rsrc_ptx_emit(ptx, kernels, n, &out);
    if (status == RSRC_OK && kind->unit == RSR_UNIT_CUBIN)
        note_registers(&out, list, first, n);
    if (status == RSRC_OK && dir == NULL)
        status = rsrc_sink_write(&c->run, &c->units.kinds[kind->unit].sink, &out);
    else if (status == RSRC_OK)
        status =
            rsrc_write_file(c->run.diag, dir,
                            rsrc_arena_printf(&c->run.arena, "%s%s", kernels->symbol, kind->suffix),
                            out.data, out.size_bytes);
    rsrc_buffer_free(&out);
    return status;
}

static enum rsrc_status emit_kind(struct rsrc_compilation *c, uint32_t target,
                                  const struct rsrc_kind *kind) {
    struct compiler compiler;
    set_compiler(c, target, kind->unit, &compiler);
    const struct kernel_list list = list_kernels(c, target);
    struct rsrc_ptx *ptx = NULL;
    if (rsrc_ptx_open(c->run.diag, &c->run.arena, &compiler.options, list.kernels, list.n, &ptx) !=
        RSRC_OK)
        return RSRC_FAILED;
    enum rsrc_status status = RSRC_OK;
    for (uint32_t i = 0, n = list.n; i < list.n && status == RSRC_OK; i += n) {
        if (c->outputs.dir != NULL)
            n = count_of_layer(&list, i);
        status = emit_file(c, kind, ptx, &list, i, n);
    }
    rsrc_ptx_close(ptx);
    return status;
}

/* ---- images ---------------------------------------------------------------------------------- */

/* The names of a kernel's functions begin with its symbol. */
static void rename_entries(struct rsrc_arena *arena, const struct rsr_linear_unit *linear,
                           const char *from, const char *to) {
    const size_t n = strlen(from);
    for (uint32_t e = 0; e < linear->n_entries; e++)
        if (strncmp(linear->entries[e].symbol, from, n) == 0)
            linear->entries[e].symbol =
                rsrc_arena_printf(arena, "%s%s", to, linear->entries[e].symbol + n);
}

/* The products of all kernels, and which are a layer's. */
static void list_products(struct rsrc_compilation *c, uint32_t target) {
    const struct kernel_list list = list_kernels(c, target);
    struct rsr_linear_unit *linears =
        &c->made.linears[(size_t)target * c->inputs.n_items * RSR_REGIME_COUNT];
    struct rsrc_gpu_products *products = &c->made.gpu_products[target];
    rsrc_list_gpu_products(&c->run.arena, list.kernels, list.n, products);
    for (uint32_t i = 0, l = 0; i < list.n; i++, l++) {
        while (linears[l].name == NULL)
            l++;
        linears[l].group = products->of_kernel[i];
    }
}

/* Kernels whose code no earlier kernel has. Launches of the others get the earlier one's names. */
static struct kernel_list list_functions(struct rsrc_compilation *c, uint32_t target) {
    struct kernel_list list = list_kernels(c, target);
    struct rsr_linear_unit *linears =
        &c->made.linears[(size_t)target * c->inputs.n_items * RSR_REGIME_COUNT];
    uint32_t *n_equal = RSRC_NEW_ARRAY(&c->run.arena, list.n, uint32_t);
    uint32_t n = 0;
    for (uint32_t i = 0, l = 0; i < list.n; i++, l++) {
        while (linears[l].name == NULL)
            l++;
        uint32_t same = 0;
        while (same < n && !rsrc_same_gpu_code(&list.kernels[same], &list.kernels[i]))
            same++;
        rename_entries(&c->run.arena, &linears[l], list.kernels[i].symbol,
                       list.kernels[same < n ? same : i].symbol);
        n_equal[same]++;
        if (same == n) {
            list.kernels[n] = list.kernels[i];
            list.reports[n++] = list.reports[i];
        }
    }
    for (uint32_t i = 0; i < n; i++)
        if (n_equal[i] > 1)
            list.kernels[i].title = rsrc_arena_printf(&c->run.arena, "%s, and %u more layers",
                                                      list.kernels[i].title, n_equal[i] - 1);
    list.n = n;
    return list;
}

/* Adds an image, whose bytes are a cubin or a text, to those of the layers or of the operations. */
static enum rsrc_status add_image(struct rsrc_compilation *c, uint32_t target,
                                  struct rsrc_gpu_images *images, enum rsr_unit_kind kind,
                                  uint32_t n_kernels, struct rsrc_buffer *bytes) {
    const struct rsr_spec *spec = &c->inputs.specs[target];
    const bool cubin = kind == RSR_UNIT_CUBIN;
    if (!cubin) /* a driver reads text up to its NUL */
        rsrc_buffer_append(bytes, "", 1);
    struct rsr_module_image *image = &images->list[images->n++];
    *image = (struct rsr_module_image){.kind = cubin ? RSR_GPU_IMAGE_CUBIN : RSR_GPU_IMAGE_PTX,
                                       .sm = cubin ? spec->gpu.sm : rsrc_ptx_target(bytes),
                                       .size_bytes = bytes->size_bytes,
                                       .n_kernels = n_kernels};
    const struct rsr_blob blob = {
        .symbol = rsrc_arena_printf(&c->run.arena, "rsr_w_%s_%u_%s",
                                    images == &c->made.images[target] ? "image" : "operations",
                                    target - c->inputs.n_cpus, cubin ? "cubin" : "ptx"),
        .bytes = bytes->data,
        .size_bytes = bytes->size_bytes,
        .align = 64};
    rsrc_begin_part(&c->weights, "images");
    return rsrc_emit_own_blob(&c->weights, blob, &image->symbol);
}

/* Makes an image of the layers' kernels, and one of the operations between them; a dry run makes
 * none. *has_nvrtc says who compiled them. */
static enum rsrc_status make_image(struct rsrc_compilation *c, uint32_t target,
                                   enum rsr_unit_kind kind, const struct kernel_list *list,
                                   bool *has_nvrtc) {
    struct compiler compiler;
    set_compiler(c, target, kind, &compiler);
    struct rsrc_ptx *ptx = NULL;
    struct rsrc_buffer bytes = {0};
    if (rsrc_ptx_open(c->run.diag, &c->run.arena, &compiler.options, list->kernels, list->n,
                      &ptx) != RSRC_OK)
        return RSRC_FAILED;
    *has_nvrtc = rsrc_ptx_is_nvrtc(ptx);
    enum rsrc_status status = rsrc_ptx_emit(ptx, list->kernels, list->n, &bytes);
    if (status == RSRC_OK && kind == RSR_UNIT_CUBIN)
        note_registers(&bytes, list, 0, list->n);
    if (status == RSRC_OK && bytes.size_bytes != 0)
        status = add_image(c, target, &c->made.images[target], kind, list->n, &bytes);
    rsrc_buffer_free(&bytes);
    rsrc_ptx_close(ptx);
    const struct rsrc_gpu_compiler by = {c->run.diag, &c->run.arena, &compiler.options,
                                         rsrc_arena_printf(&c->run.arena, "%s%s",
                                                           RSRC_GPU_OPERATIONS_SOURCE,
                                                           c->made.gpu_products[target].source)};
    bytes = (struct rsrc_buffer){0};
    if (status == RSRC_OK)
        status = rsrc_compile_gpu_operations(&by, *has_nvrtc, kind, &bytes);
    if (status == RSRC_OK && bytes.size_bytes != 0)
        status = add_image(c, target, &c->made.operation_images[target], kind, RSR_GPU_OPERATIONS,
                           &bytes);
    rsrc_buffer_free(&bytes);
    return status;
}

/* Machine code comes before the text that a driver must compile. */
static void put_cubin_first(struct rsrc_gpu_images *images) {
    const struct rsr_module_image ptx = images->list[0];
    images->list[0] = images->list[1];
    images->list[1] = ptx;
}

/* PTX, which a driver compiles for this GPU and all later ones, and where NVRTC is, a cubin, which
 * comes first because a driver need not compile it. */
static enum rsrc_status make_images(struct rsrc_compilation *c, uint32_t target) {
    list_products(c, target);
    const struct kernel_list list = list_functions(c, target);
    struct rsrc_gpu_images *images = &c->made.images[target];
    bool has_nvrtc = false;
    if (make_image(c, target, RSR_UNIT_PTX, &list, &has_nvrtc) != RSRC_OK)
        return RSRC_FAILED;
    if (!has_nvrtc) {
        rsrc_diag_emit(c->run.diag, RSRC_REMARK_MISSED, "ptx", NULL,
                       "install CUDA or NVIDIA's package nvidia-cuda-nvrtc",
                       "%s: the module has no cubin; a driver will compile its PTX",
                       c->inputs.specs[target].name);
        return RSRC_OK;
    }
    if (make_image(c, target, RSR_UNIT_CUBIN, &list, &has_nvrtc) != RSRC_OK)
        return RSRC_FAILED;
    if (images->n == 2) { /* not in a dry run */
        put_cubin_first(images);
        put_cubin_first(&c->made.operation_images[target]);
    }
    return RSRC_OK;
}

enum rsrc_status rsrc_emit_gpus(struct rsrc_compilation *c) {
    const bool collects = c->weights.elf_open || c->weights.raw_open;
    c->made.images = RSRC_NEW_ARRAY(&c->run.arena, c->inputs.n_specs, struct rsrc_gpu_images);
    c->made.operation_images =
        RSRC_NEW_ARRAY(&c->run.arena, c->inputs.n_specs, struct rsrc_gpu_images);
    c->made.gpu_products =
        RSRC_NEW_ARRAY(&c->run.arena, c->inputs.n_specs, struct rsrc_gpu_products);
    for (uint32_t t = c->inputs.n_cpus; t < c->inputs.n_specs; t++) {
        for (uint32_t k = 0; k < RSRC_KIND_COUNT; k++)
            if (rsrc_wants(&c->run, rsrc_kinds[k].emit) && rsrc_is_gpu_unit(rsrc_kinds[k].unit) &&
                emit_kind(c, t, &rsrc_kinds[k]) != RSRC_OK)
                return RSRC_FAILED;
        if (collects && rsrc_is_whole(&c->inputs) && make_images(c, t) != RSRC_OK)
            return RSRC_FAILED;
    }
    return RSRC_OK;
}
