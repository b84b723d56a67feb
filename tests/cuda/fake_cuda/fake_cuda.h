/* fake_cuda.h - a libcuda.so.1 for machines without a GPU: it runs PTX in the interpreter
 * (ptx/ptx.h). Programs find it by LD_LIBRARY_PATH.
 *
 * Work of a stream waits in a queue until something waits for it: so a missing wait is noticed,
 * because the results are not there. A failure of queued work is reported by the call that waits,
 * and by every later one, as on a GPU. Every launch has another order of blocks and warps.
 *
 * The environment, read by every cuInit:
 *   FAKE_CUDA_DEVICES   number of devices (1)
 *   FAKE_CUDA_SM        their compute capability (90)
 *   FAKE_CUDA_VERSION   of the driver (12040)
 *   FAKE_CUDA_MEMORY    bytes of a device (4294967296)
 *   FAKE_CUDA_LAUNCHES  a file that gets a line for every launch: kernel, instructions of warps
 *   FAKE_CUDA_PINNED    1: asynchronous copies of host memory that is not pinned are refused
 *   FAKE_CUDA_FAIL      FUNCTION:N:CODE[,...]: the Nth call of this function from now on gives CODE
 *
 *   fake_device.c   settings, devices, contexts
 *   fake_memory.c   modules and memory
 *   fake_work.c     streams, events, graphs
 */
#ifndef TESTS_CUDA_FAKE_CUDA_H
#define TESTS_CUDA_FAKE_CUDA_H

#include <pthread.h>

#include "fake_cuda/fake_functions.h"
#include "ptx/ptx.h"

enum fake_code {
    FAKE_OK = 0,
    FAKE_INVALID_VALUE = 1,
    FAKE_OUT_OF_MEMORY = 2,
    FAKE_NOT_INITIALIZED = 3,
    FAKE_NO_DEVICE = 100,
    FAKE_INVALID_DEVICE = 101,
    FAKE_INVALID_CONTEXT = 201,
    FAKE_NO_BINARY_FOR_GPU = 209,
    FAKE_INVALID_PTX = 218,
    FAKE_NOT_FOUND = 500,
    FAKE_NOT_READY = 600,
    FAKE_LAUNCH_FAILED = 719,
    FAKE_CAPTURE_UNSUPPORTED = 900
};

#define FAKE_MAX_DEVICES 8

/* A piece of work. */
enum fake_kind { FAKE_LAUNCH, FAKE_UPLOAD, FAKE_DOWNLOAD, FAKE_COPY, FAKE_FILL, FAKE_MARK };
struct fake_work {
    enum fake_kind kind;
    const struct ptx_kernel *kernel;
    unsigned grid[3], block[3];
    bool dependent; /* begins before the launch before it has ended */
    cuda_address to, from;
    void *host;     /* UPLOAD, DOWNLOAD */
    uint8_t *bytes; /* owned: parameters of a launch; what an upload read when it was queued */
    size_t size;
    unsigned char fill;
    struct fake_event *event; /* MARK */
};

struct fake_list {
    struct fake_work *work;
    uint32_t n, capacity;
};

struct fake_event {
    struct fake_stream *stream; /* where it was recorded; NULL: nowhere */
    bool done;
    uint64_t time; /* instructions that the device had executed */
};

struct fake_stream {
    struct fake_device *device;
    struct fake_list queue;
    struct fake_list *captured; /* NULL: it is not captured */
    bool independent;           /* of the default stream */
    enum fake_kind before;      /* of the work that was done last */
    struct fake_stream *next;
};

/* Pinned memory of the host. */
struct fake_pinned {
    struct fake_pinned *next;
    char *memory; /* owned */
    size_t size;
};

struct fake_device {
    uint32_t n_retained; /* of its context */
    struct ptx_memory memory;
    uint64_t used_bytes;
    struct ptx_counts counts;
    struct fake_stream stream; /* the default one, and first of all */
    struct fake_module *modules;
    struct fake_pinned *pinned;
    int failure; /* of work; every later call has it */
};

/* The library's state. Its lock is held in every call. */
struct fake_cuda {
    pthread_mutex_t lock;
    int pid; /* of the process that called cuInit; 0: none has */
    int n_devices, sm, version;
    uint64_t memory_bytes;
    bool only_pinned; /* FAKE_CUDA_PINNED */
    struct fake_failure {
        char function[64];
        uint32_t left;
        int code;
    } failures[8];
    uint32_t n_failures;
    struct fake_device devices[FAKE_MAX_DEVICES];
    uint64_t n_launches;
    const char *launches;   /* a file's name, or NULL */
    struct ptx_error error; /* of the last launch or module */
};
extern struct fake_cuda fake;

/* Begins a call of this function: takes the lock, and gives the code with which the call must end
 * at once, or 0. fake_end gives the lock back and returns the code. */
int fake_begin(const char *function);
int fake_end(int code);
/* These also need a context, and that nothing has failed. */
int fake_begin_work(const char *function);
/* Of the calling thread's context; NULL: there is none. */
struct fake_device *fake_current(void);

/* Does everything that waits on the device. Returns its failure. */
int fake_finish(struct fake_device *device);
/* Frees the streams' queues. */
void fake_forget(struct fake_device *device);
void fake_unload_all(struct fake_device *device);
void fake_free_pinned(struct fake_device *device);
/* Whether all of it is pinned memory of the device. */
bool fake_is_pinned(const struct fake_device *device, const void *memory, size_t size);

#endif
