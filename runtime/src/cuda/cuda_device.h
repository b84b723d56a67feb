/* cuda_device.h - a GPU: its context, one stream of work, its memory, and the kernels that it runs.
 *
 * Threads: one call at a time. Every function makes the device's context the calling thread's for
 * as long as it runs, so calls may come from any thread, and an application's own context stays.
 *
 * Failures: work is done later than it is asked for. If a kernel fails, the driver tells it to a
 * later call, and the context is lost. The device keeps the sentence, and every later call returns
 * it. In a child after fork() only rsr_cuda_device_close may be called.
 */
#ifndef RSR_CUDA_DEVICE_H
#define RSR_CUDA_DEVICE_H

#include "cuda_library.h"

struct rsr_cuda_device {
    struct rsr_cuda_library library;
    uint32_t number;
    int handle;          /* the driver's */
    char title[160];     /* "cuda:0 (NVIDIA H100, sm_90)" */
    uint32_t sm;         /* compute capability without its dot: 90 */
    uint64_t n_bytes;    /* of its memory */
    void *context;       /* NULL: none */
    void *stream;        /* NULL: none */
    const char *kernel;  /* launched last */
    uint32_t n_launches; /* since the last wait */
    uint32_t n_graphs;   /* the same, of graphs */
    uint32_t n_before;   /* n_launches when capturing began */
    bool overlaps;       /* launches after launches are dependent: rsr_cuda_overlap */
    bool follows;        /* the last call was a launch */
    char failure[400];   /* why the device cannot be used any more; "": it can */
};

/* Opens device `number` of the driver `library` (RSR_CUDA_LIBRARY, except for tests).
 * RSR_ERR_DEVICE: no driver, no such device. On failure nothing is left to close. */
RSR_NODISCARD rsr_status rsr_cuda_device_open(struct rsr_cuda_device *device, const char *library,
                                              uint32_t number, rsr_error *err);
/* Ends what is open; zeros are fine. `forked`: this is a child of the process that opened it. */
void rsr_cuda_device_close(struct rsr_cuda_device *device, bool forked);

/* ---- Memory ---- */

/* A part of what is needed at once. */
struct rsr_cuda_part {
    const char *name; /* plural, for errors: "weights" */
    uint64_t n_bytes;
    rsr_cuda_address address; /* 0: not taken */
};

/* Takes memory for all parts, or for none: RSR_ERR_MEMORY says how much is wanted, how much is
 * free, and which part is the largest. Parts of 0 bytes get none. */
RSR_NODISCARD rsr_status rsr_cuda_take(struct rsr_cuda_device *device, struct rsr_cuda_part *parts,
                                       uint32_t n_parts, rsr_error *err);
void rsr_cuda_give_back(struct rsr_cuda_device *device, struct rsr_cuda_part *parts,
                        uint32_t n_parts);

/* Free memory, in bytes. */
RSR_NODISCARD rsr_status rsr_cuda_free_bytes(struct rsr_cuda_device *device, uint64_t *n_bytes,
                                             rsr_error *err);

/* Takes pinned memory of the host, which the device reads and writes by itself; its content is
 * arbitrary. RSR_ERR_DEVICE: there is not enough. */
RSR_NODISCARD rsr_status rsr_cuda_pin(struct rsr_cuda_device *device, uint64_t n_bytes,
                                      void **memory, rsr_error *err);
void rsr_cuda_unpin(struct rsr_cuda_device *device, void *memory); /* NULL is fine */

/* Copy between host and device after the work before. A download has written to the host's memory,
 * and an upload has read it, after rsr_cuda_wait. Memory that is not pinned is right, too, but then
 * the host copies it, and waits. */
RSR_NODISCARD rsr_status rsr_cuda_upload(struct rsr_cuda_device *device, rsr_cuda_address to,
                                         const void *from, uint64_t n_bytes, rsr_error *err);
RSR_NODISCARD rsr_status rsr_cuda_download(struct rsr_cuda_device *device, void *to,
                                           rsr_cuda_address from, uint64_t n_bytes, rsr_error *err);
/* Copies on the device, and makes all bytes equal, after the work before. */
RSR_NODISCARD rsr_status rsr_cuda_copy(struct rsr_cuda_device *device, rsr_cuda_address to,
                                       rsr_cuda_address from, uint64_t n_bytes, rsr_error *err);
RSR_NODISCARD rsr_status rsr_cuda_fill(struct rsr_cuda_device *device, rsr_cuda_address to,
                                       uint8_t byte, uint64_t n_bytes, rsr_error *err);

/* ---- Kernels ---- */

struct rsr_cuda_kernel {
    const char *name;
    void *function;
};

/* Loads an image: a cubin, or PTX that ends in NUL. The error has the first lines of the log of the
 * driver's compiler. */
RSR_NODISCARD rsr_status rsr_cuda_load(struct rsr_cuda_device *device, const void *image,
                                       void **module, rsr_error *err);
void rsr_cuda_unload(struct rsr_cuda_device *device, void *module);
/* `name` must live as long as the kernel. */
RSR_NODISCARD rsr_status rsr_cuda_find(struct rsr_cuda_device *device, void *module,
                                       const char *name, struct rsr_cuda_kernel *kernel,
                                       rsr_error *err);

/* The size of a launch: a grid of n_blocks x n_rows blocks. */
struct rsr_cuda_size {
    uint32_t n_blocks, n_rows;
    uint32_t n_threads;    /* of a block */
    uint32_t shared_bytes; /* of a block, besides what the kernel declares */
};

/* Launches after the work before. `parameters` are pointers to the values, which are copied. */
RSR_NODISCARD rsr_status rsr_cuda_launch(struct rsr_cuda_device *device,
                                         const struct rsr_cuda_kernel *kernel,
                                         const struct rsr_cuda_size *size, void **parameters,
                                         rsr_error *err);
/* From now on a launch after a launch begins before that has ended, where GPU and driver can do it.
 * All kernels must wait for the launches before them, as those of cuda/kernels do that are compiled
 * for sm_90 or later. */
void rsr_cuda_overlap(struct rsr_cuda_device *device);
/* Graphs. Between begin and end, work on the device is noted and not done; only launches, copies
 * and fills on the device may be asked for. The graph does them whenever it is launched. `end` must
 * be called even if something failed in between. */
RSR_NODISCARD rsr_status rsr_cuda_begin_graph(struct rsr_cuda_device *device, rsr_error *err);
RSR_NODISCARD rsr_status rsr_cuda_end_graph(struct rsr_cuda_device *device, void **graph,
                                            rsr_error *err);
RSR_NODISCARD rsr_status rsr_cuda_launch_graph(struct rsr_cuda_device *device, void *graph,
                                               rsr_error *err);
void rsr_cuda_drop_graph(struct rsr_cuda_device *device, void *graph); /* NULL is fine */

/* Returns when all work is done. */
RSR_NODISCARD rsr_status rsr_cuda_wait(struct rsr_cuda_device *device, rsr_error *err);

#endif
