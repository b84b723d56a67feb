/* ptx_memory.c - regions of bytes. Every byte knows whether it was written, and which threads
 * touched it last at what time.
 *
 * Two accesses of one byte, a write among them, are ordered if one thread made both, if a barrier
 * of their warp or block lies between them, or if they belong to different launches. Atomics do not
 * conflict with each other, and neither do stores of equal bytes ("every block writes the same").
 * A dependent launch is ordered after those before it from its threads' waits on. Blocks of a
 * launch are ordered by signals (struct ptx_signal).
 * Everything else is a race. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ptx.h"

#define GAP 4096u               /* unmapped bytes between regions of global memory */
#define TRACED_READS (1u << 20) /* bytes of a region beyond which reads are not traced: weights */

/* Readers: a thread plus 1, or several of a warp, of a block, or of blocks. */
#define SEVERAL_OF_WARP 0x40000000u
#define SEVERAL_OF_BLOCK 0x80000000u
#define SEVERAL_BLOCKS 0xc0000000u
#define ATOMIC 0x80000000u /* of writers */
#define THREAD 0x3fffffffu

void ptx_memory_init(struct ptx_memory *memory) {
    *memory = (struct ptx_memory){.next = PTX_GLOBAL_BASE, .time = 1};
}

static void free_region(struct ptx_region *region) {
    free(region->bytes);
    free(region->known);
    free(region->traces);
}

void ptx_memory_free(struct ptx_memory *memory) {
    for (uint32_t i = 0; i < memory->n_regions; i++)
        free_region(&memory->regions[i]);
    free(memory->regions);
}

static void *zeroed(uint64_t n, size_t size_bytes) {
    void *bytes = calloc(n != 0 ? n : 1, size_bytes);
    if (bytes == NULL)
        rsrc_out_of_memory(n * size_bytes);
    return bytes;
}

uint64_t ptx_allocate(struct ptx_memory *memory, uint64_t size_bytes) {
    if (memory->n_regions == memory->capacity) {
        memory->capacity = 2 * memory->capacity + 8;
        memory->regions = realloc(memory->regions, memory->capacity * sizeof(struct ptx_region));
        if (memory->regions == NULL)
            rsrc_out_of_memory(memory->capacity * sizeof(struct ptx_region));
    }
    const uint64_t base = memory->next;
    memory->next += (size_bytes + 255) / 256 * 256 + GAP;
    memory->regions[memory->n_regions++] = (struct ptx_region){.base = base,
                                                               .size_bytes = size_bytes,
                                                               .bytes = zeroed(size_bytes, 1),
                                                               .known = zeroed(size_bytes, 1),
                                                               .is_global = true};
    return base;
}

/* The last region that begins at or before the address. */
static struct ptx_region *last_before(struct ptx_memory *memory, uint64_t address) {
    uint32_t low = 0, high = memory->n_regions;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (memory->regions[middle].base <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low == 0 ? NULL : &memory->regions[low - 1];
}

static bool holds(const struct ptx_region *region, uint64_t address, uint64_t size_bytes) {
    return address >= region->base && size_bytes <= region->size_bytes &&
           address - region->base <= region->size_bytes - size_bytes;
}

struct ptx_region *ptx_find_region(struct ptx_memory *memory, uint64_t address) {
    struct ptx_region *region = last_before(memory, address);
    return region != NULL && holds(region, address, 1) ? region : NULL;
}

bool ptx_release(struct ptx_memory *memory, uint64_t address) {
    struct ptx_region *region = last_before(memory, address);
    if (region == NULL || region->base != address)
        return false;
    free_region(region);
    const uint32_t at = (uint32_t)(region - memory->regions);
    memory->n_regions--;
    memmove(region, region + 1, (memory->n_regions - at) * sizeof *region);
    return true;
}

uint8_t *ptx_bytes(struct ptx_memory *memory, uint64_t address, uint64_t size_bytes) {
    struct ptx_region *region = last_before(memory, address);
    return region != NULL && holds(region, address, size_bytes)
               ? region->bytes + (address - region->base)
               : NULL;
}

bool ptx_upload(struct ptx_memory *memory, uint64_t address, const void *from,
                uint64_t size_bytes) {
    uint8_t *bytes = ptx_bytes(memory, address, size_bytes);
    if (bytes == NULL)
        return false;
    const struct ptx_region *region = last_before(memory, address);
    memcpy(bytes, from, size_bytes);
    memset(region->known + (address - region->base), 1, size_bytes);
    return true;
}

bool ptx_download(struct ptx_memory *memory, void *to, uint64_t address, uint64_t size_bytes) {
    const uint8_t *bytes = ptx_bytes(memory, address, size_bytes);
    if (bytes == NULL)
        return false;
    const struct ptx_region *region = last_before(memory, address);
    memcpy(to, bytes, size_bytes);
    return memchr(region->known + (address - region->base), 0, size_bytes) == NULL;
}

bool ptx_fill(struct ptx_memory *memory, uint64_t address, uint8_t byte, uint64_t size_bytes) {
    uint8_t *bytes = ptx_bytes(memory, address, size_bytes);
    if (bytes == NULL)
        return false;
    const struct ptx_region *region = last_before(memory, address);
    memset(bytes, byte, size_bytes);
    memset(region->known + (address - region->base), 1, size_bytes);
    return true;
}

bool ptx_copy(struct ptx_memory *memory, uint64_t to, uint64_t from, uint64_t size_bytes) {
    uint8_t *written = ptx_bytes(memory, to, size_bytes);
    const uint8_t *read = ptx_bytes(memory, from, size_bytes);
    if (written == NULL || read == NULL || (to < from + size_bytes && from < to + size_bytes))
        return false;
    const struct ptx_region *region = last_before(memory, to), *source = last_before(memory, from);
    memcpy(written, read, size_bytes);
    memcpy(region->known + (to - region->base), source->known + (from - source->base), size_bytes);
    return true;
}

/* ---- who touched a byte ---------------------------------------------------------------------- */

/* Whether a signal orders accesses of another block, or of all blocks, before this access. Of many
 * blocks only the last one's time is known: of the others it counts that they released. */
static bool is_released(const struct ptx_access *access, uint32_t block, uint32_t time, bool all) {
    for (uint32_t i = 0, left = access->acquired; left != 0; i++, left >>= 1) {
        if ((left & 1) == 0)
            continue;
        const struct ptx_signal *signal = &access->signals->list[i];
        if (time < signal->until[block] && (!all || signal->n_blocks == access->signals->n_blocks))
            return true;
    }
    return false;
}

/* Whether the access of thread `other` of the grid at `time` is ordered before this access. With
 * `several`, `other` stands for more threads: of its warp, of its block, or also of other
 * blocks. */
static bool is_ordered(const struct ptx_access *access, uint32_t other, uint32_t time,
                       uint32_t several) {
    if (time < access->start)
        return time < access->since || access->since == access->start;
    if (several == SEVERAL_BLOCKS ||
        other / PTX_BLOCK_THREADS != access->thread / PTX_BLOCK_THREADS)
        return is_released(access, other / PTX_BLOCK_THREADS, time, several == SEVERAL_BLOCKS);
    if (time < access->block_time || (several == 0 && other == access->thread))
        return true;
    return several != SEVERAL_OF_BLOCK && time < access->warp_time &&
           other / PTX_LANES == access->thread / PTX_LANES;
}

static inline bool writer_is_ordered(const struct ptx_access *access,
                                     const struct ptx_trace *trace) {
    return trace->writer == 0 || (access->atomic && (trace->writer & ATOMIC) != 0) ||
           is_ordered(access, (trace->writer & THREAD) - 1, trace->write_time, 0);
}

static bool reader_is_ordered(const struct ptx_access *access, const struct ptx_trace *trace) {
    return trace->reader == 0 || is_ordered(access, (trace->reader & THREAD) - 1, trace->read_time,
                                            trace->reader & ~THREAD);
}

/* Adds the thread to the readers since the last barrier. */
static void note_reader(const struct ptx_memory *memory, const struct ptx_access *access,
                        struct ptx_trace *trace) {
    const uint32_t self = access->thread + 1, other = (trace->reader & THREAD) - 1;
    if (trace->read_time == memory->time && trace->reader >= SEVERAL_OF_BLOCK)
        return; /* no time has passed, so it is the same block */
    if (reader_is_ordered(access, trace))
        trace->reader = self;
    else if (trace->reader >= SEVERAL_BLOCKS ||
             other / PTX_BLOCK_THREADS != access->thread / PTX_BLOCK_THREADS)
        trace->reader = self | SEVERAL_BLOCKS;
    else if (trace->reader < SEVERAL_OF_BLOCK && other / PTX_LANES == access->thread / PTX_LANES)
        trace->reader = self | SEVERAL_OF_WARP;
    else
        trace->reader = self | SEVERAL_OF_BLOCK;
    trace->read_time = memory->time;
}

static struct ptx_trace *traces_of(struct ptx_region *region, bool writes) {
    if (region->traces == NULL && (writes || region->size_bytes <= TRACED_READS))
        region->traces = zeroed(region->size_bytes, sizeof(struct ptx_trace));
    return region->traces;
}

/* ---- accesses -------------------------------------------------------------------------------- */

static bool explain(const struct ptx_access *access, char text[256], const char *what,
                    uint32_t other) {
    char by[64] = "";
    if (other != 0)
        snprintf(by, sizeof by, " thread %u of block %u", (other - 1) % PTX_BLOCK_THREADS,
                 (other - 1) / PTX_BLOCK_THREADS);
    snprintf(text, 256, "thread %u of block %u, %u bytes at 0x%llx: %s%s",
             access->thread % PTX_BLOCK_THREADS, access->thread / PTX_BLOCK_THREADS,
             access->size_bytes, (unsigned long long)access->address, what, by);
    return false;
}

static bool is_in_place(const struct ptx_region *region, const struct ptx_access *access,
                        char text[256]) {
    if (region == NULL || !holds(region, access->address, access->size_bytes))
        return explain(access, text, "out of bounds", 0);
    if (access->address % access->size_bytes != 0)
        return explain(access, text, "not aligned", 0);
    return true;
}

const uint8_t *ptx_read(const struct ptx_memory *memory, struct ptx_region *region,
                        const struct ptx_access *access, char text[256]) {
    if (!is_in_place(region, access, text))
        return NULL;
    const uint64_t at = access->address - region->base;
    if (memchr(region->known + at, 0, access->size_bytes) != NULL) {
        explain(access, text, "read, but never written", 0);
        return NULL;
    }
    struct ptx_trace *traces = traces_of(region, false);
    for (uint32_t i = 0; traces != NULL && i < access->size_bytes; i++) {
        struct ptx_trace *trace = &traces[at + i];
        if (trace->writer != 0 && !writer_is_ordered(access, trace)) {
            explain(access, text, "a race: read without a barrier after the write of",
                    trace->writer & THREAD);
            return NULL;
        }
        if (!access->atomic) /* an atomic is a writer, too */
            note_reader(memory, access, trace);
    }
    return region->bytes + at;
}

bool ptx_write(const struct ptx_memory *memory, struct ptx_region *region,
               const struct ptx_access *access, const void *value, char text[256]) {
    if (!is_in_place(region, access, text))
        return false;
    const uint64_t at = access->address - region->base;
    const uint8_t *from = value;
    struct ptx_trace *traces = traces_of(region, true);
    for (uint32_t i = 0; i < access->size_bytes; i++) {
        struct ptx_trace *trace = &traces[at + i];
        const bool agrees = !access->atomic && (trace->writer & ATOMIC) == 0 &&
                            region->known[at + i] != 0 && region->bytes[at + i] == from[i];
        if (!agrees && !writer_is_ordered(access, trace))
            return explain(access, text, "a race: written without a barrier after the write of",
                           trace->writer & THREAD);
        if (!reader_is_ordered(access, trace))
            return explain(access, text, "a race: written without a barrier after the read of",
                           trace->reader & THREAD);
        trace->writer = (access->thread + 1) | (access->atomic ? ATOMIC : 0);
        trace->write_time = memory->time;
    }
    memcpy(region->bytes + at, from, access->size_bytes);
    memset(region->known + at, 1, access->size_bytes);
    return true;
}
