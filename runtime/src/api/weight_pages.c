/* weight_pages.c - huge pages for the weights.
 *
 * A step reads all weights once; with pages of 4 KiB, TLB misses take measurable time. AUTO asks
 * for huge pages on the file mapping and reads in /proc/self/smaps whether it got them: many
 * kernels back no file mapping with huge pages. COPY puts the weights into anonymous memory, which
 * they do back.
 *
 * Kernels point into the module's loaded segments, so AUTO and COPY work on whole segments, whose
 * bounds dl_iterate_phdr gives. Pointers outside all segments (a module built by hand on the heap)
 * stay as they are.
 */
#include <inttypes.h>
#include <link.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "weight_pages.h"

#define HUGE_PAGE ((uint64_t)2 << 20)
#define MAX_SEGMENTS 16

struct segment {
    uintptr_t begin, end;
    uint64_t copy_offset;
};

struct segments {
    struct segment list[MAX_SEGMENTS];
    uint32_t count;
    uintptr_t wanted; /* the address being looked up */
};

static struct segment *segment_of(struct segments *segments, const void *address) {
    for (uint32_t i = 0; i < segments->count; i++)
        if ((uintptr_t)address >= segments->list[i].begin &&
            (uintptr_t)address < segments->list[i].end)
            return &segments->list[i];
    return NULL;
}

static int visit_object(struct dl_phdr_info *info, size_t size, void *user) {
    (void)size;
    struct segments *segments = user;
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *header = &info->dlpi_phdr[i];
        const uintptr_t begin = info->dlpi_addr + header->p_vaddr;
        if (header->p_type != PT_LOAD || segments->wanted < begin ||
            segments->wanted - begin >= header->p_memsz)
            continue;
        segments->list[segments->count++] =
            (struct segment){.begin = begin, .end = begin + header->p_memsz};
        return 1;
    }
    return 0;
}

static void add_segment_of(struct segments *segments, const void *address) {
    if (address == NULL || segments->count == MAX_SEGMENTS || segment_of(segments, address) != NULL)
        return;
    segments->wanted = (uintptr_t)address;
    dl_iterate_phdr(visit_object, segments);
}

static struct segments find_segments(const struct rsr_target *target) {
    struct segments segments = {.count = 0};
    for (uint32_t i = 0; i < target->n_kernels; i++) {
        add_segment_of(&segments, target->kernels[i].weights.codes);
        add_segment_of(&segments, target->kernels[i].weights.index);
    }
    const struct rsr_tensors *tensors = target->tensors;
    for (uint32_t i = 0; i < tensors->n_dense; i++)
        add_segment_of(&segments, tensors->dense[i].data);
    add_segment_of(&segments, tensors->embedding.data);
    add_segment_of(&segments, tensors->head.data);
    return segments;
}

/* ---- What the kernel says ---- */

struct huge_state {
    uint64_t huge_kb; /* part of the range that is on huge pages now */
    bool eligible;    /* the kernel would use huge pages for some of it */
    bool known;
};

/* Sums up the mappings that overlap [begin, end). */
static void read_smaps(uintptr_t begin, uintptr_t end, struct huge_state *state) {
    FILE *file = fopen("/proc/self/smaps", "re");
    if (file == NULL)
        return;
    char line[512];
    bool inside = false;
    while (fgets(line, sizeof(line), file) != NULL) {
        uintptr_t from, to;
        uint64_t value;
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &from, &to) == 2) {
            inside = from < end && to > begin;
            state->known |= inside;
        } else if (inside && (sscanf(line, "FilePmdMapped: %" SCNu64, &value) == 1 ||
                              sscanf(line, "AnonHugePages: %" SCNu64, &value) == 1)) {
            state->huge_kb += value;
        } else if (inside && sscanf(line, "THPeligible: %" SCNu64, &value) == 1) {
            state->eligible |= value != 0;
        }
    }
    fclose(file);
}

static const char *advise_mapping(const struct rsr_target *target) {
    struct segments segments = find_segments(target);
    struct huge_state state = {0};
    bool large = false;
    for (uint32_t i = 0; i < segments.count; i++) {
        const struct segment *s = &segments.list[i];
        const uintptr_t begin = s->begin & ~(uintptr_t)4095;
        const uintptr_t end = (s->end + 4095) & ~(uintptr_t)4095;
        if (end - begin < HUGE_PAGE)
            continue;
        large = true;
        madvise((void *)begin, end - begin, MADV_HUGEPAGE);
        read_smaps(begin, end, &state);
    }
    if (!large)
        return "plain: the weights are smaller than a huge page";
    if (!state.known)
        return "plain, as far as known: /proc/self/smaps cannot be read";
    if (state.huge_kb > 0)
        return "huge: the kernel backs the file mapping with huge pages";
    if (state.eligible)
        return "plain so far: the kernel may collapse the file mapping to huge pages later";
    return "plain: this kernel does not back file mappings with huge pages; `copy` would";
}

/* ---- COPY ---- */

static uint64_t round_up(uint64_t n, uint64_t unit) {
    return (n + unit - 1) / unit * unit;
}

static const void *moved(struct segments *segments, char *copy, const void *pointer) {
    if (pointer == NULL)
        return NULL;
    const struct segment *s = segment_of(segments, pointer);
    return s == NULL ? pointer : copy + s->copy_offset + ((uintptr_t)pointer - s->begin);
}

/* The front of the copy: the target, its tensors, kernels and dense matrices, which point to the
 * copied weights. */
struct target_copy {
    struct rsr_target target;
    struct rsr_tensors tensors;
    struct rsr_kernel_desc kernels[]; /* then struct rsr_matrix_data [tensors.n_dense] */
};

static uint64_t target_copy_bytes(const struct rsr_target *target) {
    return sizeof(struct target_copy) + (uint64_t)target->n_kernels * sizeof(*target->kernels) +
           (uint64_t)target->tensors->n_dense * sizeof(*target->tensors->dense);
}

static void patch_target(struct target_copy *head, const struct rsr_target *target,
                         struct segments *segments) {
    char *copy = (char *)head;
    const struct rsr_tensors *tensors = target->tensors;
    head->target = *target;
    head->target.kernels = head->kernels;
    head->target.tensors = &head->tensors;
    head->tensors = *tensors;
    head->tensors.embedding.data = moved(segments, copy, tensors->embedding.data);
    head->tensors.head.data = moved(segments, copy, tensors->head.data);
    struct rsr_matrix_data *dense = (void *)&head->kernels[target->n_kernels];
    head->tensors.dense = dense;
    for (uint32_t i = 0; i < tensors->n_dense; i++) {
        dense[i] = tensors->dense[i];
        dense[i].data = moved(segments, copy, dense[i].data);
    }
    for (uint32_t i = 0; i < target->n_kernels; i++) {
        struct rsr_kernel_desc *kernel = &head->kernels[i];
        *kernel = target->kernels[i];
        kernel->weights.codes = moved(segments, copy, kernel->weights.codes);
        kernel->weights.index = moved(segments, copy, kernel->weights.index);
    }
}

/* memcpy of a segment. In a build with AddressSanitizer a segment holds redzones, which memcpy and
 * instrumented loads refuse to read; volatile keeps the loop from becoming a memcpy. */
__attribute__((no_sanitize("address"))) static void copy_segment(char *to,
                                                                 const struct segment *segment) {
    typedef uint64_t word __attribute__((may_alias, aligned(1)));
    const uintptr_t n_bytes = segment->end - segment->begin;
    const volatile char *from = (const volatile char *)segment->begin;
    uintptr_t i = 0;
    for (; i + sizeof(word) <= n_bytes; i += sizeof(word))
        *(word *)(void *)(to + i) = *(const volatile word *)(const volatile void *)(from + i);
    for (; i < n_bytes; i++)
        to[i] = from[i];
}

static rsr_status copy_weights(rsr_model *model, rsr_error *err) {
    const struct rsr_target *target = model->target;
    struct segments segments = find_segments(target);
    if (segments.count == 0) {
        model->pages = "plain: the weights lie in no loaded file, so nothing was copied";
        return RSR_OK;
    }
    uint64_t bytes = target_copy_bytes(target);
    for (uint32_t i = 0; i < segments.count; i++) {
        struct segment *s = &segments.list[i];
        s->copy_offset = round_up(bytes, HUGE_PAGE) + s->begin % HUGE_PAGE; /* keeps alignment */
        bytes = s->copy_offset + (s->end - s->begin);
    }
    bytes = round_up(bytes, HUGE_PAGE);

    /* One huge page more than needed, so that the copy can begin at a multiple of a huge page. */
    const uint64_t mapped_bytes = bytes + HUGE_PAGE;
    char *mapped = mmap(NULL, (size_t)mapped_bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED)
        return rsr_fail(err, RSR_ERR_MEMORY,
                        "no memory for a copy of the weights (%" PRIu64
                        " bytes); open without RSR_PAGES_COPY",
                        bytes);
    char *copy = mapped + (round_up((uintptr_t)mapped, HUGE_PAGE) - (uintptr_t)mapped);
    madvise(copy, (size_t)bytes, MADV_HUGEPAGE);
    for (uint32_t i = 0; i < segments.count; i++)
        copy_segment(copy + segments.list[i].copy_offset, &segments.list[i]);
    patch_target((struct target_copy *)(void *)copy, target, &segments);
    mprotect(mapped, (size_t)mapped_bytes, PROT_READ);

    struct huge_state state = {0};
    read_smaps((uintptr_t)copy, (uintptr_t)copy + bytes, &state);
    model->copy = mapped;
    model->copy_bytes = mapped_bytes;
    model->target = &((struct target_copy *)(void *)copy)->target;
    model->pages = state.huge_kb * 1024 >= bytes / 2
                       ? "copied: the weights lie on anonymous huge pages"
                       : "copied, but the kernel gave few huge pages; is "
                         "/sys/kernel/mm/transparent_hugepage/enabled \"never\"?";
    return RSR_OK;
}

rsr_status rsr_weight_pages_apply(rsr_model *model, int pages, rsr_error *err) {
    if (model->target == NULL) {
        model->pages = "plain: no CPU reads the weights";
        return RSR_OK;
    }
    switch (pages) {
    case RSR_PAGES_AUTO:
        model->pages = advise_mapping(model->target);
        return RSR_OK;
    case RSR_PAGES_COPY:
        return copy_weights(model, err);
    case RSR_PAGES_PLAIN:
        model->pages = "plain: as asked";
        return RSR_OK;
    }
    return rsr_fail(err, RSR_ERR_ARGUMENT, "pages has no mode %d", pages);
}
