/* head_memory.c - see head_memory.h.
 *
 * Only pages that a file has whole, and that nobody can have written, are given back: those of a
 * segment that was loaded without the right to write. A copy of the weights (RSR_PAGES_COPY), a
 * hollow module and a module on the heap have none.
 */
#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

#include "crew.h"

/* What the kernel maps around a row that is read: fault_around_bytes of Linux. */
#define MAPPED_BYTES ((uint64_t)64 << 10)

/* Rows of fewer bytes stay. */
#define LEAST_BYTES ((uint64_t)128 << 20)

/* Memory is given back when so many rows were read that a part of all bytes may be resident. */
#define PART 4u

/* If a worker reads more than a row of so many bytes for a token, all rows stay: they are soon read
 * again. On a virtual Zen 3 core, mapping a row took 2.8 us and giving it back 1.4 us; a token
 * reads its sketch, half of these bytes, in 90 us with 30 GB/s. */
#define BYTES_PER_ROW ((uint64_t)6 << 20)

/* ---- Which pages ---- */

struct wanted_pages {
    uintptr_t begin, end;
    bool found;
};

static int visit_object(struct dl_phdr_info *info, size_t size, void *user) {
    (void)size;
    struct wanted_pages *wanted = user;
    for (unsigned i = 0; i < info->dlpi_phnum && !wanted->found; i++) {
        const ElfW(Phdr) *header = &info->dlpi_phdr[i];
        const uintptr_t begin = info->dlpi_addr + header->p_vaddr;
        wanted->found = header->p_type == PT_LOAD && (header->p_flags & PF_W) == 0 &&
                        wanted->begin >= begin && wanted->end <= begin + header->p_filesz;
    }
    return wanted->found;
}

static struct rsr_mapped_rows mapped_rows(const struct rsr_matrix_data *matrix) {
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    if (matrix->data == NULL)
        return (struct rsr_mapped_rows){0};
    const uintptr_t first = (uintptr_t)rsr_matrix_rows(matrix);
    struct wanted_pages wanted = {.begin = (first + page - 1) / page * page,
                                  .end = (first + matrix->rows * rsr_matrix_row_bytes(matrix)) /
                                         page * page};
    if (wanted.begin < wanted.end)
        dl_iterate_phdr(visit_object, &wanted);
    return wanted.found ? (struct rsr_mapped_rows){(char *)wanted.begin, wanted.end - wanted.begin}
                        : (struct rsr_mapped_rows){0};
}

void rsr_head_memory_create(struct rsr_crew *crew) {
    const struct rsr_tensors *tensors = crew->model->target->tensors;
    struct rsr_head_memory *memory = &crew->head_memory;
    if (crew->slots.shape.dim == 0)
        return;
    memory->head = mapped_rows(&tensors->head);
    if (tensors->embedding.data != tensors->head.data)
        memory->embedding = mapped_rows(&tensors->embedding);
}

/* ---- When ---- */

static uint64_t bytes_of(const struct rsr_head_memory *memory) {
    return memory->head.bytes + memory->embedding.bytes;
}

bool rsr_head_memory_due(struct rsr_head_memory *memory, uint64_t n_parts, uint64_t n_rows) {
    const uint64_t bytes = bytes_of(memory);
    memory->n_parts += n_parts;
    memory->n_rows += n_rows;
    if (bytes < LEAST_BYTES || memory->n_rows < bytes / PART / MAPPED_BYTES)
        return false;
    const bool few = memory->n_rows <= memory->n_parts * (bytes / BYTES_PER_ROW);
    memory->n_parts = memory->n_rows = 0;
    return few;
}

/* Rows of the head that the walk read for a pick. */
static uint64_t rows_of(const struct rsr_crew *crew, const struct rsr_head_scan *scan) {
    uint64_t n = 0;
    if (atomic_load(&scan->excluded) || atomic_load(&scan->undecided))
        return crew->model->module->hyper.vocab;
    for (uint32_t i = 0; i < crew->n_workers; i++)
        n += scan->n_listed[(size_t)i * RSR_HEAD_COUNT_STRIDE];
    return n;
}

static uint64_t rows_read(const struct rsr_crew *crew) {
    const struct rsr_head_slots *slots = &crew->slots;
    const bool all = slots->n_all > 0 || crew->chunk->n_wanted > 0;
    uint64_t n = crew->chunk->n_tokens; /* of the embedding */
    n += all ? crew->model->module->hyper.vocab : 0;
    for (uint32_t i = 0; i < slots->n_sketched + slots->n_listed; i++)
        n += rows_of(crew, &slots->scans[i]);
    return n;
}

static void give_back(struct rsr_mapped_rows rows) {
    if (rows.bytes > 0)
        madvise(rows.begin, rows.bytes, MADV_DONTNEED);
}

void rsr_head_memory_step(struct rsr_crew *crew) {
    struct rsr_head_memory *memory = &crew->head_memory;
    if (bytes_of(memory) == 0 ||
        !rsr_head_memory_due(memory, (uint64_t)crew->chunk->n_tokens * crew->n_workers,
                             rows_read(crew)))
        return;
    give_back(memory->head);
    give_back(memory->embedding);
}
