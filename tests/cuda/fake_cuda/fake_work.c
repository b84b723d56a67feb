/* fake_work.c - streams with their queues, events, and graphs, which are lists of work. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake_cuda/fake_cuda.h"

/* ---- lists of work --------------------------------------------------------------------------- */

static void *allocate(size_t n, size_t size) {
    void *bytes = calloc(n != 0 ? n : 1, size);
    if (bytes == NULL)
        rsrc_out_of_memory(n * size);
    return bytes;
}

static void append(struct fake_list *list, const struct fake_work *work) {
    if (list->n == list->capacity) {
        list->capacity = 2 * list->capacity + 16;
        list->work = realloc(list->work, list->capacity * sizeof *list->work);
        if (list->work == NULL)
            rsrc_out_of_memory(list->capacity * sizeof *list->work);
    }
    list->work[list->n++] = *work;
}

static void append_copy(struct fake_list *list, const struct fake_work *work) {
    struct fake_work copy = *work;
    if (work->bytes != NULL) {
        copy.bytes = allocate(work->size, 1);
        memcpy(copy.bytes, work->bytes, work->size);
    }
    append(list, &copy);
}

static void empty(struct fake_list *list) {
    for (uint32_t i = 0; i < list->n; i++)
        free(list->work[i].bytes);
    free(list->work);
    *list = (struct fake_list){0};
}

/* ---- doing it -------------------------------------------------------------------------------- */

/* Adds a line to the file of FAKE_CUDA_LAUNCHES: the kernel, and the instructions of its warps. */
static void note_launch(const struct ptx_kernel *kernel, uint64_t n_instructions) {
    FILE *file = fake.launches != NULL ? fopen(fake.launches, "a") : NULL;
    if (file == NULL)
        return;
    fprintf(file, "%s %llu\n", kernel->name, (unsigned long long)n_instructions);
    fclose(file);
}

static int launch(struct fake_device *device, const struct fake_work *w, bool dependent) {
    const uint64_t before = device->counts.warp_instructions;
    const struct ptx_launch launched = {.kernel = w->kernel,
                                        .grid = {w->grid[0], w->grid[1], w->grid[2]},
                                        .block = {w->block[0], w->block[1], w->block[2]},
                                        .parameters = w->bytes,
                                        .dependent = dependent,
                                        .seed = fake.n_launches++};
    const bool right = ptx_run(&device->memory, &launched, &device->counts, &fake.error);
    note_launch(w->kernel, device->counts.warp_instructions - before);
    return right ? FAKE_OK : FAKE_LAUNCH_FAILED;
}

static int mark(struct fake_device *device, struct fake_event *event) {
    event->done = true;
    event->time = device->counts.warp_instructions;
    return FAKE_OK;
}

/* `before`: the kind of what the stream did before. Only launches do not wait for launches. */
static int run(struct fake_device *device, const struct fake_work *w, enum fake_kind before) {
    switch (w->kind) {
    case FAKE_LAUNCH:
        return launch(device, w, w->dependent && before == FAKE_LAUNCH);
    case FAKE_UPLOAD:
        return ptx_upload(&device->memory, w->to, w->bytes != NULL ? w->bytes : w->host, w->size)
                   ? FAKE_OK
                   : FAKE_INVALID_VALUE;
    case FAKE_DOWNLOAD:
        return ptx_download(&device->memory, w->host, w->from, w->size) ? FAKE_OK
                                                                        : FAKE_INVALID_VALUE;
    case FAKE_COPY:
        return ptx_copy(&device->memory, w->to, w->from, w->size) ? FAKE_OK : FAKE_INVALID_VALUE;
    case FAKE_FILL:
        return ptx_fill(&device->memory, w->to, w->fill, w->size) ? FAKE_OK : FAKE_INVALID_VALUE;
    case FAKE_MARK:
        return mark(device, w->event);
    }
    return FAKE_INVALID_VALUE;
}

/* Does the work of a stream up to the mark of an event, or all of it. */
static int finish_stream(struct fake_stream *stream, const struct fake_event *last) {
    struct fake_list *queue = &stream->queue;
    struct fake_device *device = stream->device;
    uint32_t n = 0;
    for (bool more = true; more && n < queue->n && device->failure == FAKE_OK; n++) {
        const struct fake_work *w = &queue->work[n];
        device->failure = run(device, w, stream->before);
        stream->before = w->kind;
        more = last == NULL || w->event != last;
        free(w->bytes);
    }
    queue->n -= n;
    if (n != 0)
        memmove(queue->work, queue->work + n, queue->n * sizeof *queue->work);
    return device->failure;
}

int fake_finish(struct fake_device *device) {
    for (struct fake_stream *s = &device->stream; s != NULL; s = s->next)
        (void)finish_stream(s, NULL);
    return device->failure;
}

void fake_forget(struct fake_device *device) {
    for (struct fake_stream *s = device->stream.next, *next; s != NULL; s = next) {
        next = s->next;
        empty(&s->queue);
        free(s);
    }
    empty(&device->stream.queue);
}

static struct fake_stream *stream_of(void *stream) {
    return stream != NULL ? stream : &fake_current()->stream;
}

/* Queues the work. The default stream and others wait for each other, unless these are
 * independent. */
static int queue(void *of, const struct fake_work *work) {
    struct fake_stream *stream = stream_of(of);
    struct fake_stream *first = &stream->device->stream;
    if (stream->captured != NULL) {
        append(stream->captured, work);
        return FAKE_OK;
    }
    if (stream != first && !stream->independent)
        (void)finish_stream(first, NULL);
    for (struct fake_stream *s = first->next; stream == first && s != NULL; s = s->next)
        if (!s->independent)
            (void)finish_stream(s, NULL);
    append(&stream->queue, work);
    return FAKE_OK;
}

/* ---- streams --------------------------------------------------------------------------------- */

int cuStreamCreate(void **stream, unsigned flags) {
    const int code = fake_begin_work("cuStreamCreate");
    if (code != FAKE_OK)
        return fake_end(code);
    struct fake_device *device = fake_current();
    struct fake_stream *made = allocate(1, sizeof *made);
    *made = (struct fake_stream){
        .device = device, .independent = flags == 1, .next = device->stream.next};
    device->stream.next = made;
    *stream = made;
    return fake_end(FAKE_OK);
}

int cuStreamSynchronize(void *stream) {
    const int code = fake_begin_work("cuStreamSynchronize");
    if (code != FAKE_OK)
        return fake_end(code);
    if (stream_of(stream)->captured != NULL)
        return fake_end(FAKE_CAPTURE_UNSUPPORTED);
    return fake_end(finish_stream(stream_of(stream), NULL));
}

int cuStreamDestroy_v2(void *stream) {
    const int code = fake_begin_work("cuStreamDestroy_v2");
    if (code != FAKE_OK)
        return fake_end(code);
    struct fake_stream *ended = stream;
    (void)finish_stream(ended, NULL);
    struct fake_stream *before = &ended->device->stream;
    while (before->next != ended)
        before = before->next;
    before->next = ended->next;
    empty(&ended->queue);
    free(ended);
    return fake_end(FAKE_OK);
}

/* ---- work ------------------------------------------------------------------------------------ */

static int begin_queue(const char *function, void *stream, const struct fake_work *work) {
    const int code = fake_begin_work(function);
    return fake_end(code != FAKE_OK ? code : queue(stream, work));
}

/* Reads memory of the host at once where it is not pinned, as the driver does, and otherwise when
 * the copy's turn comes. A graph reads it when it runs. */
int cuMemcpyHtoDAsync_v2(cuda_address to, const void *from, size_t size, void *stream) {
    const int code = fake_begin_work("cuMemcpyHtoDAsync_v2");
    if (code != FAKE_OK)
        return fake_end(code);
    struct fake_work work = {
        .kind = FAKE_UPLOAD, .to = to, .host = (void *)(uintptr_t)from, .size = size};
    const bool pinned = fake_is_pinned(fake_current(), from, size);
    if (fake.only_pinned && !pinned)
        return fake_end(FAKE_INVALID_VALUE);
    if (stream_of(stream)->captured == NULL && !pinned) {
        work.bytes = allocate(size, 1);
        memcpy(work.bytes, from, size);
    }
    return fake_end(queue(stream, &work));
}

int cuMemcpyDtoHAsync_v2(void *to, cuda_address from, size_t size, void *stream) {
    const int code = fake_begin_work("cuMemcpyDtoHAsync_v2");
    if (code != FAKE_OK)
        return fake_end(code);
    if (fake.only_pinned && !fake_is_pinned(fake_current(), to, size))
        return fake_end(FAKE_INVALID_VALUE);
    return fake_end(
        queue(stream,
              &(struct fake_work){.kind = FAKE_DOWNLOAD, .host = to, .from = from, .size = size}));
}

int cuMemcpyDtoDAsync_v2(cuda_address to, cuda_address from, size_t size, void *stream) {
    return begin_queue(
        "cuMemcpyDtoDAsync_v2", stream,
        &(struct fake_work){.kind = FAKE_COPY, .to = to, .from = from, .size = size});
}

int cuMemsetD8Async(cuda_address address, unsigned char byte, size_t size, void *stream) {
    return begin_queue(
        "cuMemsetD8Async", stream,
        &(struct fake_work){.kind = FAKE_FILL, .to = address, .fill = byte, .size = size});
}

static int queue_launch(const struct fake_launch *l, bool dependent, const struct ptx_kernel *k,
                        void **parameters, void **extra) {
    if (k == NULL || l->shared_bytes != 0 || extra != NULL) /* no dynamic memory: interpreter */
        return FAKE_INVALID_VALUE;
    struct fake_work work = {.kind = FAKE_LAUNCH,
                             .kernel = k,
                             .grid = {l->grid[0], l->grid[1], l->grid[2]},
                             .block = {l->block[0], l->block[1], l->block[2]},
                             .dependent = dependent,
                             .bytes = allocate(k->parameter_bytes, 1),
                             .size = k->parameter_bytes};
    for (uint32_t i = 0; i < k->n_parameters; i++)
        memcpy(work.bytes + k->parameters[i].offset, parameters[i], k->parameters[i].size_bytes);
    return queue(l->stream, &work);
}

int cuLaunchKernel(void *kernel, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                   unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared_bytes,
                   void *stream, void **parameters, void **extra) {
    const int code = fake_begin_work("cuLaunchKernel");
    const struct fake_launch l = {.grid = {grid_x, grid_y, grid_z},
                                  .block = {block_x, block_y, block_z},
                                  .shared_bytes = shared_bytes,
                                  .stream = stream};
    return fake_end(code != FAKE_OK ? code : queue_launch(&l, false, kernel, parameters, extra));
}

enum { PROGRAMMATIC_STREAM_SERIALIZATION = 6, OLDEST_DEPENDENT_SM = 90 };

int cuLaunchKernelEx(const struct fake_launch *l, void *kernel, void **parameters, void **extra) {
    const int code = fake_begin_work("cuLaunchKernelEx");
    bool dependent = false;
    if (code != FAKE_OK)
        return fake_end(code);
    for (unsigned i = 0; i < l->n_attributes; i++) {
        if (l->attributes[i].id != PROGRAMMATIC_STREAM_SERIALIZATION ||
            fake.sm < OLDEST_DEPENDENT_SM)
            return fake_end(FAKE_INVALID_VALUE);
        dependent = l->attributes[i].value.allowed != 0;
    }
    return fake_end(queue_launch(l, dependent, kernel, parameters, extra));
}

/* ---- graphs ---------------------------------------------------------------------------------- */

int cuStreamBeginCapture_v2(void *stream, int mode) {
    const int code = fake_begin_work("cuStreamBeginCapture_v2");
    struct fake_stream *captured = stream;
    (void)mode;
    if (code != FAKE_OK)
        return fake_end(code);
    if (captured == NULL || captured->captured != NULL)
        return fake_end(FAKE_CAPTURE_UNSUPPORTED);
    captured->captured = allocate(1, sizeof *captured->captured);
    return fake_end(FAKE_OK);
}

int cuStreamEndCapture(void *stream, void **graph) {
    const int code = fake_begin_work("cuStreamEndCapture");
    struct fake_stream *captured = stream;
    if (code != FAKE_OK)
        return fake_end(code);
    if (captured == NULL || captured->captured == NULL)
        return fake_end(FAKE_INVALID_VALUE);
    *graph = captured->captured;
    captured->captured = NULL;
    return fake_end(FAKE_OK);
}

int cuGraphInstantiateWithFlags(void **executable, void *graph, unsigned long long flags) {
    const int code = fake_begin_work("cuGraphInstantiateWithFlags");
    (void)flags;
    if (code != FAKE_OK)
        return fake_end(code);
    const struct fake_list *from = graph;
    struct fake_list *made = allocate(1, sizeof *made);
    for (uint32_t i = 0; i < from->n; i++)
        append_copy(made, &from->work[i]);
    *executable = made;
    return fake_end(FAKE_OK);
}

int cuGraphLaunch(void *executable, void *stream) {
    const int code = fake_begin_work("cuGraphLaunch");
    if (code != FAKE_OK)
        return fake_end(code);
    const struct fake_list *graph = executable;
    struct fake_list *to = &stream_of(stream)->queue;
    const uint32_t first = to->n;
    for (uint32_t i = 0; i < graph->n; i++)
        append_copy(to, &graph->work[i]);
    if (graph->n != 0) /* a graph waits for what is before it */
        to->work[first].dependent = false;
    return fake_end(FAKE_OK);
}

/* A graph, or one that can be launched. It is freed even if the device has failed. */
static int destroy(const char *function, void *graph) {
    const int code = fake_begin_work(function);
    empty(graph);
    free(graph);
    return fake_end(code);
}

int cuGraphExecDestroy(void *executable) {
    return destroy("cuGraphExecDestroy", executable);
}

int cuGraphDestroy(void *graph) {
    return destroy("cuGraphDestroy", graph);
}

/* ---- events ---------------------------------------------------------------------------------- */

int cuEventCreate(void **event, unsigned flags) {
    const int code = fake_begin_work("cuEventCreate");
    (void)flags;
    if (code == FAKE_OK)
        *event = allocate(1, sizeof(struct fake_event));
    return fake_end(code);
}

int cuEventRecord(void *event, void *stream) {
    const int code = fake_begin_work("cuEventRecord");
    if (code != FAKE_OK)
        return fake_end(code);
    struct fake_event *recorded = event;
    *recorded = (struct fake_event){.stream = stream_of(stream)};
    return fake_end(queue(stream, &(struct fake_work){.kind = FAKE_MARK, .event = recorded}));
}

int cuEventSynchronize(void *event) {
    const int code = fake_begin_work("cuEventSynchronize");
    if (code != FAKE_OK)
        return fake_end(code);
    const struct fake_event *waited = event;
    return fake_end(waited->stream == NULL || waited->done ? FAKE_OK
                                                           : finish_stream(waited->stream, waited));
}

/* A billion instructions of warps take a second. */
int cuEventElapsedTime(float *milliseconds, void *from, void *to) {
    const int code = fake_begin_work("cuEventElapsedTime");
    const struct fake_event *first = from, *second = to;
    if (code != FAKE_OK)
        return fake_end(code);
    if (!first->done || !second->done)
        return fake_end(FAKE_NOT_READY);
    *milliseconds = (float)((double)(second->time - first->time) * 1e-6);
    return fake_end(FAKE_OK);
}

int cuEventDestroy_v2(void *event) {
    int code = fake_begin_work("cuEventDestroy_v2");
    const struct fake_event *ended = event;
    if (code == FAKE_OK && ended->stream != NULL && !ended->done)
        code = finish_stream(ended->stream, ended);
    free(event);
    return fake_end(code);
}
