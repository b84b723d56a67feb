/* cuda_device.c - opens a GPU, gives its memory, loads kernels and runs them. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cuda_device.h"

enum { ATTRIBUTE_SM_MAJOR = 75, ATTRIBUTE_SM_MINOR = 76 };
enum { STREAM_NON_BLOCKING = 1 };
enum { JIT_ERROR_LOG = 5, JIT_ERROR_LOG_BYTES = 6 };

/* ---- Calls ---- */

/* Makes the device's context the calling thread's. Refuses if the device has failed before. */
static rsr_status enter(struct rsr_cuda_device *device, rsr_error *err) {
    device->follows = false;
    if (device->failure[0] != '\0')
        return rsr_fail(err, RSR_ERR_DEVICE, "%s", device->failure);
    const int code = device->library.push_context(device->context);
    if (code == 0)
        return RSR_OK;
    return rsr_fail(err, RSR_ERR_DEVICE, "%s cannot be used by this thread: %s (%d)", device->title,
                    rsr_cuda_text(&device->library, code), code);
}

static void leave(struct rsr_cuda_device *device) {
    void *context;
    (void)device->library.pop_context(&context);
}

/* The device has failed for good. Kernels work after their launches return, so that a failure that
 * any call reports may be one of theirs. */
static rsr_status lost(struct rsr_cuda_device *device, const char *what, int code, rsr_error *err) {
    char kernels[160] = "";
    if (device->n_graphs > 0)
        snprintf(kernels, sizeof(kernels),
                 "a kernel of a step that runs as a graph (cuda:%" PRIu32 ",plain says which)",
                 device->number);
    else if (device->n_launches > 1)
        snprintf(kernels, sizeof(kernels), "kernel %.90s, or one of %" PRIu32 " before it,",
                 device->kernel, device->n_launches - 1);
    else if (device->n_launches == 1)
        snprintf(kernels, sizeof(kernels), "kernel %.120s", device->kernel);
    snprintf(device->failure, sizeof(device->failure),
             "%s: %s failed: %.120s (%d); the engine cannot be used any more", device->title,
             kernels[0] != '\0' ? kernels : what, rsr_cuda_text(&device->library, code), code);
    return rsr_fail(err, RSR_ERR_DEVICE, "%s", device->failure);
}

/* Leaves, after a call whose result is `code`. */
static rsr_status leave_with(struct rsr_cuda_device *device, const char *what, int code,
                             rsr_error *err) {
    leave(device);
    return code == 0 ? RSR_OK : lost(device, what, code, err);
}

/* ---- Life ---- */

static rsr_status refuse_number(uint32_t number, int n_devices, rsr_error *err) {
    if (n_devices <= 1)
        return rsr_fail(err, RSR_ERR_DEVICE,
                        "there is no device cuda:%" PRIu32 ": this machine has one GPU, cuda:0",
                        number);
    return rsr_fail(err, RSR_ERR_DEVICE,
                    "there is no device cuda:%" PRIu32 ": this machine has cuda:0 to cuda:%d",
                    number, n_devices - 1);
}

static int describe(struct rsr_cuda_device *device) {
    const struct rsr_cuda_library *library = &device->library;
    char name[100] = "";
    int major = 0, minor = 0;
    size_t n_bytes = 0;
    int code = library->get_device(&device->handle, (int)device->number);
    if (code == 0)
        code = library->device_name(name, sizeof(name), device->handle);
    if (code == 0)
        code = library->attribute(&major, ATTRIBUTE_SM_MAJOR, device->handle);
    if (code == 0)
        code = library->attribute(&minor, ATTRIBUTE_SM_MINOR, device->handle);
    if (code == 0)
        code = library->device_bytes(&n_bytes, device->handle);
    device->sm = (uint32_t)(10 * major + minor);
    device->n_bytes = n_bytes;
    snprintf(device->title, sizeof(device->title), "cuda:%" PRIu32 " (%s, sm_%" PRIu32 ")",
             device->number, name, device->sm);
    return code;
}

static int take_context(struct rsr_cuda_device *device) {
    const struct rsr_cuda_library *library = &device->library;
    void *context = NULL;
    int code = library->retain_context(&device->context, device->handle);
    if (code != 0)
        device->context = NULL;
    else
        code = library->push_context(device->context);
    if (code != 0)
        return code;
    code = library->create_stream(&device->stream, STREAM_NON_BLOCKING);
    if (code != 0)
        device->stream = NULL;
    (void)library->pop_context(&context);
    return code;
}

rsr_status rsr_cuda_device_open(struct rsr_cuda_device *device, const char *library,
                                uint32_t number, rsr_error *err) {
    *device = (struct rsr_cuda_device){.number = number};
    rsr_status status = rsr_cuda_library_open(&device->library, library, err);
    if (status != RSR_OK)
        return status;
    int n_devices = 0;
    int code = device->library.count_devices(&n_devices);
    if (code == 0 && (n_devices < 0 || number >= (uint32_t)n_devices)) {
        status = refuse_number(number, n_devices, err);
    } else {
        if (code == 0)
            code = describe(device);
        if (code == 0)
            code = take_context(device);
        if (code != 0)
            status = rsr_fail(err, RSR_ERR_DEVICE, "cuda:%" PRIu32 " cannot be used: %s (%d)",
                              number, rsr_cuda_text(&device->library, code), code);
    }
    if (status != RSR_OK)
        rsr_cuda_device_close(device, false);
    return status;
}

void rsr_cuda_device_close(struct rsr_cuda_device *device, bool forked) {
    const struct rsr_cuda_library *library = &device->library;
    if (!forked && device->context != NULL) {
        if (device->stream != NULL && library->push_context(device->context) == 0) {
            (void)library->destroy_stream(device->stream);
            leave(device);
        }
        (void)library->release_context(device->handle);
    }
    if (!forked)
        rsr_cuda_library_close(&device->library);
    *device = (struct rsr_cuda_device){0};
}

/* ---- Memory ---- */

/* "1.5 GiB" */
static const char *say_bytes(uint64_t n_bytes, char text[32]) {
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
    double amount = (double)n_bytes;
    uint32_t unit = 0;
    for (; amount >= 1024 && unit + 1 < sizeof(units) / sizeof(units[0]); unit++)
        amount /= 1024;
    snprintf(text, 32, unit == 0 ? "%.0f %s" : "%.2f %s", amount, units[unit]);
    return text;
}

static rsr_status refuse_memory(const struct rsr_cuda_device *device, size_t free_bytes,
                                const struct rsr_cuda_part *parts, uint32_t n_parts,
                                rsr_error *err) {
    uint64_t wanted = 0;
    const struct rsr_cuda_part *largest = parts;
    for (uint32_t i = 0; i < n_parts; i++) {
        if (__builtin_add_overflow(wanted, parts[i].n_bytes, &wanted))
            wanted = UINT64_MAX;
        if (parts[i].n_bytes > largest->n_bytes)
            largest = &parts[i];
    }
    char all[32], left[32], most[32];
    return rsr_fail(err, RSR_ERR_MEMORY,
                    "%s has too little memory: %s are needed and %s are free; the %s take most of "
                    "it, %s",
                    device->title, say_bytes(wanted, all), say_bytes(free_bytes, left),
                    largest->name, say_bytes(largest->n_bytes, most));
}

rsr_status rsr_cuda_take(struct rsr_cuda_device *device, struct rsr_cuda_part *parts,
                         uint32_t n_parts, rsr_error *err) {
    rsr_status status = enter(device, err);
    if (status != RSR_OK)
        return status;
    size_t free_bytes = 0, total_bytes = 0;
    int code = device->library.free_bytes(&free_bytes, &total_bytes);
    for (uint32_t i = 0; i < n_parts; i++)
        parts[i].address = 0;
    for (uint32_t i = 0; code == 0 && i < n_parts; i++)
        if (parts[i].n_bytes > SIZE_MAX)
            code = RSR_CUDA_OUT_OF_MEMORY;
        else if (parts[i].n_bytes != 0)
            code = device->library.allocate(&parts[i].address, (size_t)parts[i].n_bytes);
    if (code == 0) {
        leave(device);
        return RSR_OK;
    }
    for (uint32_t i = 0; i < n_parts; i++)
        if (parts[i].address != 0)
            (void)device->library.release(parts[i].address);
    for (uint32_t i = 0; i < n_parts; i++)
        parts[i].address = 0;
    if (code != RSR_CUDA_OUT_OF_MEMORY)
        return leave_with(device, "taking memory", code, err);
    leave(device);
    return refuse_memory(device, free_bytes, parts, n_parts, err);
}

rsr_status rsr_cuda_free_bytes(struct rsr_cuda_device *device, uint64_t *n_bytes, rsr_error *err) {
    size_t free_bytes = 0, total_bytes = 0;
    rsr_status status = enter(device, err);
    if (status == RSR_OK)
        status = leave_with(device, "asking for free memory",
                            device->library.free_bytes(&free_bytes, &total_bytes), err);
    if (status == RSR_OK)
        *n_bytes = free_bytes;
    return status;
}

void rsr_cuda_give_back(struct rsr_cuda_device *device, struct rsr_cuda_part *parts,
                        uint32_t n_parts) {
    const bool entered = enter(device, NULL) == RSR_OK; /* else the context is lost with it */
    for (uint32_t i = 0; i < n_parts; i++) {
        if (entered && parts[i].address != 0)
            (void)device->library.release(parts[i].address);
        parts[i].address = 0;
    }
    if (entered)
        leave(device);
}

rsr_status rsr_cuda_pin(struct rsr_cuda_device *device, uint64_t n_bytes, void **memory,
                        rsr_error *err) {
    rsr_status status = enter(device, err);
    if (status != RSR_OK)
        return status;
    void *pinned = NULL;
    const int code = n_bytes <= SIZE_MAX ? device->library.pin(&pinned, (size_t)n_bytes, 0)
                                         : RSR_CUDA_OUT_OF_MEMORY;
    if (code != 0 && code != RSR_CUDA_OUT_OF_MEMORY)
        return leave_with(device, "pinning the host's memory", code, err);
    leave(device);
    if (code == 0) {
        *memory = pinned;
        return RSR_OK;
    }
    char text[32];
    return rsr_fail(err, RSR_ERR_DEVICE,
                    "%s: the host has no %s of memory that can be pinned; a smaller max_batch or "
                    "context takes less",
                    device->title, say_bytes(n_bytes, text));
}

void rsr_cuda_unpin(struct rsr_cuda_device *device, void *memory) {
    /* Also after a failure: the process goes on without the context. */
    if (memory == NULL || device->library.push_context(device->context) != 0)
        return;
    (void)device->library.unpin(memory);
    leave(device);
}

rsr_status rsr_cuda_upload(struct rsr_cuda_device *device, rsr_cuda_address to, const void *from,
                           uint64_t n_bytes, rsr_error *err) {
    rsr_status status = enter(device, err);
    if (status != RSR_OK)
        return status;
    return leave_with(device, "a copy to the device",
                      device->library.upload(to, from, (size_t)n_bytes, device->stream), err);
}

rsr_status rsr_cuda_download(struct rsr_cuda_device *device, void *to, rsr_cuda_address from,
                             uint64_t n_bytes, rsr_error *err) {
    rsr_status status = enter(device, err);
    if (status != RSR_OK)
        return status;
    return leave_with(device, "a copy from the device",
                      device->library.download(to, from, (size_t)n_bytes, device->stream), err);
}

rsr_status rsr_cuda_copy(struct rsr_cuda_device *device, rsr_cuda_address to, rsr_cuda_address from,
                         uint64_t n_bytes, rsr_error *err) {
    rsr_status status = enter(device, err);
    if (status != RSR_OK)
        return status;
    return leave_with(device, "a copy on the device",
                      device->library.copy(to, from, (size_t)n_bytes, device->stream), err);
}

rsr_status rsr_cuda_fill(struct rsr_cuda_device *device, rsr_cuda_address to, uint8_t byte,
                         uint64_t n_bytes, rsr_error *err) {
    rsr_status status = enter(device, err);
    if (status != RSR_OK)
        return status;
    return leave_with(device, "clearing memory",
                      device->library.fill(to, byte, (size_t)n_bytes, device->stream), err);
}

/* ---- Kernels ---- */

static rsr_status refuse_image(struct rsr_cuda_device *device, int code, const char *log,
                               rsr_error *err) {
    switch (code) {
    case RSR_CUDA_NO_BINARY_FOR_GPU:
        return rsr_fail(err, RSR_ERR_DEVICE,
                        "%s cannot run the model's code, which is for other GPUs; compile the "
                        "model with --target sm_%" PRIu32 ",native",
                        device->title, device->sm);
    case RSR_CUDA_UNSUPPORTED_PTX:
        return rsr_fail(err, RSR_ERR_DEVICE,
                        "%s: the driver is too old for the PTX of the model; update NVIDIA's "
                        "driver",
                        device->title);
    case RSR_CUDA_OUT_OF_MEMORY:
        return rsr_fail(err, RSR_ERR_MEMORY, "%s has no memory for the model's code",
                        device->title);
    default:
        return rsr_fail(err, RSR_ERR_DEVICE, "%s: the driver refuses the model's code: %s (%d)%s%s",
                        device->title, rsr_cuda_text(&device->library, code), code,
                        log[0] != '\0' ? ": " : "", log);
    }
}

/* A sentence has no line ends. */
static void join_lines(char *log) {
    size_t n = strlen(log);
    while (n != 0 && (log[n - 1] == '\n' || log[n - 1] == ' '))
        log[--n] = '\0';
    for (char *at = log; (at = strchr(at, '\n')) != NULL;)
        *at = ';';
}

rsr_status rsr_cuda_load(struct rsr_cuda_device *device, const void *image, void **module,
                         rsr_error *err) {
    rsr_status status = enter(device, err);
    if (status != RSR_OK)
        return status;
    char log[300] = "";
    int options[] = {JIT_ERROR_LOG, JIT_ERROR_LOG_BYTES};
    void *values[] = {log, (void *)(uintptr_t)sizeof(log)};
    const int code = device->library.load_module(module, image, 2, options, values);
    leave(device);
    if (code == 0)
        return RSR_OK;
    log[sizeof(log) - 1] = '\0';
    join_lines(log);
    return refuse_image(device, code, log, err);
}

void rsr_cuda_unload(struct rsr_cuda_device *device, void *module) {
    if (module == NULL || enter(device, NULL) != RSR_OK)
        return;
    (void)device->library.unload_module(module);
    leave(device);
}

rsr_status rsr_cuda_find(struct rsr_cuda_device *device, void *module, const char *name,
                         struct rsr_cuda_kernel *kernel, rsr_error *err) {
    rsr_status status = enter(device, err);
    if (status != RSR_OK)
        return status;
    void *function = NULL;
    const int code = device->library.find_kernel(&function, module, name);
    leave(device);
    if (code != 0)
        return rsr_fail(err, RSR_ERR_DEVICE, "%s: the model's code has no kernel %s (%d)",
                        device->title, name, code);
    *kernel = (struct rsr_cuda_kernel){name, function};
    return RSR_OK;
}

void rsr_cuda_overlap(struct rsr_cuda_device *device) {
    device->overlaps = device->sm >= 90 && device->library.launch_config != NULL;
}

static int launch_dependent(const struct rsr_cuda_device *device, void *function,
                            const struct rsr_cuda_size *size, void **parameters) {
    const struct rsr_cuda_attribute attribute = {.id = RSR_CUDA_DEPENDENT, .value.allowed = 1};
    const struct rsr_cuda_config config = {.grid = {size->n_blocks, size->n_rows, 1},
                                           .block = {size->n_threads, 1, 1},
                                           .shared_bytes = size->shared_bytes,
                                           .stream = device->stream,
                                           .attributes = &attribute,
                                           .n_attributes = 1};
    return device->library.launch_config(&config, function, parameters, NULL);
}

static int launch_in_order(const struct rsr_cuda_device *device, void *function,
                           const struct rsr_cuda_size *size, void **parameters) {
    return device->library.launch(function, size->n_blocks, size->n_rows, 1, size->n_threads, 1, 1,
                                  size->shared_bytes, device->stream, parameters, NULL);
}

rsr_status rsr_cuda_launch(struct rsr_cuda_device *device, const struct rsr_cuda_kernel *kernel,
                           const struct rsr_cuda_size *size, void **parameters, rsr_error *err) {
    const bool dependent = device->overlaps && device->follows;
    rsr_status status = enter(device, err);
    if (status != RSR_OK)
        return status;
    device->follows = true;
    device->kernel = kernel->name;
    device->n_launches++;
    return leave_with(device, "a launch",
                      dependent ? launch_dependent(device, kernel->function, size, parameters)
                                : launch_in_order(device, kernel->function, size, parameters),
                      err);
}

enum { CAPTURE_THREAD = 1 }; /* other threads may use the driver meanwhile */

rsr_status rsr_cuda_begin_graph(struct rsr_cuda_device *device, rsr_error *err) {
    rsr_status status = enter(device, err);
    if (status != RSR_OK)
        return status;
    device->n_before = device->n_launches;
    return leave_with(device, "capturing a graph",
                      device->library.begin_capture(device->stream, CAPTURE_THREAD), err);
}

rsr_status rsr_cuda_end_graph(struct rsr_cuda_device *device, void **graph, rsr_error *err) {
    rsr_status status = enter(device, err);
    if (status != RSR_OK)
        return status;
    void *captured = NULL;
    int code = device->library.end_capture(device->stream, &captured);
    device->n_launches = device->n_before; /* nothing was launched */
    if (code == 0) {
        code = device->library.instantiate(graph, captured, 0);
        (void)device->library.destroy_graph(captured);
    }
    return leave_with(device, "capturing a graph", code, err);
}

rsr_status rsr_cuda_launch_graph(struct rsr_cuda_device *device, void *graph, rsr_error *err) {
    rsr_status status = enter(device, err);
    if (status != RSR_OK)
        return status;
    device->n_graphs++;
    return leave_with(device, "a graph", device->library.launch_graph(graph, device->stream), err);
}

void rsr_cuda_drop_graph(struct rsr_cuda_device *device, void *graph) {
    /* Also after a failure: what a graph has on the host does not end with the context. */
    if (graph == NULL || device->library.push_context(device->context) != 0)
        return;
    (void)device->library.destroy_executable(graph);
    leave(device);
}

rsr_status rsr_cuda_wait(struct rsr_cuda_device *device, rsr_error *err) {
    rsr_status status = enter(device, err);
    if (status != RSR_OK)
        return status;
    status = leave_with(device, "waiting for the device",
                        device->library.wait_for_stream(device->stream), err);
    device->n_launches = device->n_graphs = 0;
    return status;
}
