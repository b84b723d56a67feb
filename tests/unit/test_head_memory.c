/* test_head_memory.c - which rows of a head may leave memory, and when. e2e/head_memory.test
 * watches a module. */
#include <stdlib.h>

#include "check.h"
#include "walk/crew.h"

#define ROWS 64u
#define COLS 1024u
#define MB ((uint64_t)1 << 20)

static const uint16_t constant[ROWS * COLS] = {1};
static uint16_t written[ROWS * COLS] = {1};

/* The pages that are found of a head and an embedding. */
static struct rsr_head_memory pages_of(const void *head, const void *embedding, bool sketched) {
    const struct rsr_matrix_data matrix = {.dtype = RSR_DTYPE_BF16, .rows = ROWS, .cols = COLS};
    struct rsr_tensors tensors = {.head = matrix, .embedding = matrix};
    tensors.head.data = head;
    tensors.embedding.data = embedding;
    const struct rsr_target target = {.tensors = &tensors};
    const rsr_model model = {.target = &target};
    struct rsr_crew crew = {.model = &model};
    crew.slots.shape.dim = sketched ? COLS : 0;
    rsr_head_memory_create(&crew);
    return crew.head_memory;
}

/* Only whole pages of a file that is not written are given back. */
static void test_pages(void) {
    void *heap = calloc(ROWS * COLS, sizeof(uint16_t));
    struct rsr_head_memory memory = pages_of(constant, constant, true);
    const char *rows = (const char *)constant;
    CHECK(memory.head.begin >= rows && memory.head.begin < rows + 4096);
    CHECK(memory.head.bytes % 4096 == 0 && memory.head.bytes > sizeof(constant) - 8192);
    CHECK(memory.head.begin + memory.head.bytes <= rows + sizeof(constant));
    CHECK(memory.embedding.bytes == 0);
    memory = pages_of(heap, constant, true);
    CHECK(memory.head.bytes == 0 && memory.embedding.bytes > 0);
    memory = pages_of(written, NULL, true);
    CHECK(memory.head.bytes == 0 && memory.embedding.bytes == 0);
    memory = pages_of(constant, heap, false);
    CHECK(memory.head.bytes == 0 && memory.embedding.bytes == 0);
    free(heap);
}

/* Rows around which a quarter of 384 MiB lies: 1536. */
static void test_due(void) {
    struct rsr_head_memory memory = {.head.bytes = 256 * MB, .embedding.bytes = 128 * MB};
    CHECK(!rsr_head_memory_due(&memory, 100, 1000));
    CHECK(!rsr_head_memory_due(&memory, 100, 535));
    CHECK(rsr_head_memory_due(&memory, 1, 1));
    CHECK_INT(memory.n_rows, 0);
    /* 64 rows a part are few enough, more are not, and the next tokens are looked at by
     * themselves. */
    CHECK(rsr_head_memory_due(&memory, 24, 1536));
    CHECK(!rsr_head_memory_due(&memory, 24, 1537));
    CHECK(rsr_head_memory_due(&memory, 1000, 1536));
    memory = (struct rsr_head_memory){.head.bytes = 127 * MB};
    CHECK(!rsr_head_memory_due(&memory, 1000, 10000));
}

int main(void) {
    test_pages();
    test_due();
    return CHECK_EXIT();
}
