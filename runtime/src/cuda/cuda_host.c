/* cuda_host.c - the host's side of copies: one pinned block, which the device reads and writes by
 * itself while the host goes on. With other memory the driver makes a copy first, and a download
 * waits for all work before it.
 *
 *   +----------------+----------------------+---------------------------------+
 *   | RSR_CUDA_CHUNK | with a probe: a row  | staging, as large as the logits |
 *   |                | buffer, aligned      |                                 |
 *   +----------------+----------------------+---------------------------------+
 *
 * Numbers of a chunk have the same places on host and device. Results pass through the staging on
 * their way to a caller's memory, and weights on theirs to the device.
 */
#include <string.h>

#include "cuda_engine.h"

/* Of a row of any buffer. */
static uint32_t most_row_bytes(const struct rsr_gpu_target *gpu) {
    uint32_t bytes = 1;
    for (uint32_t s = 0; s < gpu->n_steps; s++)
        for (uint32_t i = 0; i < gpu->steps[s].n_buffers; i++)
            if (gpu->steps[s].buffers[i].row_bytes > bytes)
                bytes = gpu->steps[s].buffers[i].row_bytes;
    return bytes;
}

rsr_status rsr_cuda_take_host(struct rsr_cuda_engine *e, rsr_error *err) {
    struct rsr_cuda_host *host = &e->host;
    const uint64_t chunk_bytes = e->parts[RSR_CUDA_CHUNK].n_bytes;
    const bool probed = e->engine->probe != NULL;
    const uint64_t probed_bytes =
        probed ? (uint64_t)e->engine->info.max_batch * most_row_bytes(e->gpu) : 0;
    void *block = NULL;
    host->n_staging_bytes = e->parts[RSR_CUDA_LOGITS].n_bytes;
    rsr_status status =
        rsr_cuda_pin(&e->device, chunk_bytes + host->n_staging_bytes + probed_bytes, &block, err);
    if (status != RSR_OK)
        return status;
    host->block = block;
    host->probed = probed ? host->block + chunk_bytes : NULL;
    host->staging = host->block + chunk_bytes + probed_bytes;
    return RSR_OK;
}

void *rsr_cuda_host_of(const struct rsr_cuda_engine *e, rsr_cuda_address number) {
    return e->host.block + (number - e->parts[RSR_CUDA_CHUNK].address);
}

rsr_status rsr_cuda_send(struct rsr_cuda_engine *e, rsr_cuda_address numbers, uint64_t n_bytes,
                         rsr_error *err) {
    return rsr_cuda_upload(&e->device, numbers, rsr_cuda_host_of(e, numbers), n_bytes, err);
}

/* While the device reads one half of the staging, the host fills the other one: the first upload of
 * a half waits for those of the other. */
rsr_status rsr_cuda_send_weights(struct rsr_cuda_engine *e, rsr_cuda_address to, const void *from,
                                 uint64_t n_bytes, rsr_error *err) {
    struct rsr_cuda_host *host = &e->host;
    const uint64_t half = host->n_staging_bytes / 2;
    const char *bytes = from;
    rsr_status status = RSR_OK;
    for (uint64_t n; n_bytes > 0 && status == RSR_OK; bytes += n, to += n, n_bytes -= n) {
        const uint64_t left = half - host->n_used % half;
        char *staged = host->staging + host->n_used;
        n = n_bytes < left ? n_bytes : left;
        memcpy(staged, bytes, n);
        if (left == half)
            status = rsr_cuda_wait(&e->device, err);
        if (status == RSR_OK)
            status = rsr_cuda_upload(&e->device, to, staged, n, err);
        host->n_used = (host->n_used + n) % (2 * half);
    }
    return status;
}

rsr_status rsr_cuda_fetch(struct rsr_cuda_engine *e, void *to, rsr_cuda_address from,
                          uint64_t n_bytes, rsr_error *err) {
    struct rsr_cuda_host *host = &e->host;
    rsr_status status = RSR_OK;
    for (uint64_t at = 0, n; at < n_bytes && status == RSR_OK; at += n) {
        if (host->n_used == host->n_staging_bytes || host->n_fetched == RSR_CUDA_FETCHES)
            status = rsr_cuda_deliver(e, err);
        const uint64_t left = host->n_staging_bytes - host->n_used;
        n = n_bytes - at < left ? n_bytes - at : left;
        char *staged = host->staging + host->n_used;
        if (status == RSR_OK)
            status = rsr_cuda_download(&e->device, staged, from + at, n, err);
        if (status == RSR_OK)
            host->fetched[host->n_fetched++] =
                (struct rsr_cuda_fetched){(char *)to + at, staged, n};
        host->n_used += n;
    }
    return status;
}

rsr_status rsr_cuda_deliver(struct rsr_cuda_engine *e, rsr_error *err) {
    struct rsr_cuda_host *host = &e->host;
    const rsr_status status = rsr_cuda_wait(&e->device, err);
    for (uint32_t i = 0; i < host->n_fetched && status == RSR_OK; i++)
        memcpy(host->fetched[i].to, host->fetched[i].staged, host->fetched[i].n_bytes);
    host->n_fetched = 0;
    host->n_used = 0;
    return status;
}
