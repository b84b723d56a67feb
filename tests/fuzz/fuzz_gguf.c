/* fuzz_gguf.c - any bytes as a .gguf file, up to the weights of its layers. An accepted file is
 * read to its last byte, so that a sanitizer finds a wrong offset; the reader must not take more
 * memory than a small multiple of the file. */
#include <assert.h>
#include <string.h>

#include "fuzz_target.h"
#include "model/graph.h"
#include "model/ternary.h"

static volatile uint8_t sink;

static void read_tensors(const struct rsr_checkpoint *checkpoint) {
    for (uint32_t i = 0; i < checkpoint->n_tensors; i++) {
        const struct rsr_tensor *tensor = &checkpoint->tensors[i];
        assert(i == 0 || strcmp(tensor[-1].name, tensor->name) < 0);
        for (uint64_t k = 0; k < tensor->size_bytes; k++)
            sink = (uint8_t)(sink + tensor->data[k]);
    }
}

static bool decode_layers(struct fuzz_target *target, const struct rsr_graph *graph) {
    bool accepted = true;
    for (uint32_t i = 0; i < graph->n_layers; i++) {
        struct rsr_matrix matrix;
        uint8_t *zero = rsrc_arena_alloc(&target->arena, graph->layers[i].rows);
        rsrc_find_zero_rows(&graph->layers[i], zero);
        accepted &=
            rsrc_decode_layer(target->diag, &target->arena, &graph->layers[i], &matrix) == RSRC_OK;
    }
    return accepted;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size_bytes) {
    struct fuzz_target target;
    struct rsr_checkpoint checkpoint = {.path = "fuzz.gguf"};
    struct rsr_graph graph;
    const struct rsrc_read_choices choices = {.i2s_layout =
                                                  size_bytes % 2 == 0 ? RSRC_I2S_X86 : RSRC_I2S_ARM,
                                              .activations = RSRC_ACTIVATIONS_INT8};
    fuzz_target_begin(&target);
    bool accepted = rsrc_parse_gguf(target.diag, &target.arena, "fuzz.gguf", bytes, size_bytes,
                                    &choices, &checkpoint) == RSRC_OK;
    assert(target.arena.used_bytes < 16 * size_bytes + 4096);
    if (accepted) {
        read_tensors(&checkpoint);
        accepted = rsrc_build_graph(target.diag, &target.arena, &checkpoint, &graph) == RSRC_OK &&
                   decode_layers(&target, &graph);
    }
    fuzz_target_end(&target, accepted);
    return 0;
}
