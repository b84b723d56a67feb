/* gguf_evidence.c - which of two layouts a GGUF file's Q2_0 and I2_S tensors have.
 *
 * Type 42, Q2_0, has blocks of 64 weights in ggml. In the fork that introduced it, it had blocks of
 * 128. Only padding lies between tensors, so the begin of the next tensor shows the size of the
 * blocks, unless the tensor is so small that padding hides the difference.
 *
 * Type 36, I2_S, has blocks of 128 weights if x86 wrote the file, and of 64 if ARM did. Both take
 * equal bytes and permute equal two-bit codes within 128 weights, so neither sizes nor codes
 * distinguish them. Only rows that are not a multiple of 128 weights do.
 */
#include "reader/gguf_evidence.h"

#include <inttypes.h>

#include "reader/reader.h"

/* ---- Q2_0 ------------------------------------------------------------------------------------ */

/* Bits: the sizes of blocks that a tensor may have. */
enum { FITS_64 = 1, FITS_128 = 2 };

#define BYTES_64 18u
#define BYTES_128 34u

static uint64_t size_of_128(const struct rsr_tensor *tensor) {
    return tensor->size_bytes / (2 * BYTES_64) * BYTES_128;
}

/* `span`: the bytes up to the next tensor, or to the end of the data. */
static bool fills(uint64_t size_bytes, uint64_t span, uint32_t alignment, bool is_last) {
    const uint64_t padding = size_bytes % alignment == 0 ? 0 : alignment - size_bytes % alignment;
    return is_last ? span >= size_bytes && span - size_bytes <= padding
                   : size_bytes <= span && span - size_bytes == padding;
}

static uint32_t fitting_blocks(const struct rsrc_gguf *gguf, uint32_t i, uint64_t n_data,
                               uint32_t alignment) {
    const struct rsr_tensor *tensor = &gguf->tensors[i];
    const bool is_last = i + 1 == gguf->n_tensors;
    const uint64_t end = is_last ? n_data : tensor[1].offset;
    const uint64_t span = end < tensor->offset ? 0 : end - tensor->offset;
    uint32_t fitting = fills(tensor->size_bytes, span, alignment, is_last) ? FITS_64 : 0;
    if (tensor->shape[tensor->n_dims - 1] % 128 == 0 &&
        fills(size_of_128(tensor), span, alignment, is_last))
        fitting |= FITS_128;
    return fitting;
}

enum rsrc_status rsrc_gguf_find_q2_blocks(struct rsrc_diag *diag, struct rsrc_gguf *gguf,
                                          uint64_t data_at, uint64_t n_data, uint32_t alignment) {
    if (gguf->n_tensors == 0)
        return RSRC_OK;
    const struct rsr_tensor *last = &gguf->tensors[gguf->n_tensors - 1];
    if (last->offset > n_data ||
        (last->blocks == RSR_BLOCKS_Q2_0 && n_data - last->offset < size_of_128(last)))
        return RSRC_OK; /* cut off: the caller says so */
    uint32_t fitting = FITS_64 | FITS_128;
    last = NULL;
    for (uint32_t i = 0; i < gguf->n_tensors && fitting != 0; i++) {
        if (gguf->tensors[i].blocks != RSR_BLOCKS_Q2_0)
            continue;
        last = &gguf->tensors[i];
        fitting &= fitting_blocks(gguf, i, n_data, alignment);
    }
    if (last == NULL || fitting == FITS_64)
        return RSRC_OK;
    if (fitting != FITS_128) {
        const struct rsrc_place place = {.file = last->file,
                                         .has_offset = true,
                                         .offset = data_at + last->offset,
                                         .tensor = last->name};
        return rsrc_refuse(
            diag, "gguf-q2-blocks", &place,
            fitting == 0 ? "the file may be damaged, or of a fork that is not known"
                         : "convert it to TQ2_0 or TQ1_0",
            fitting == 0 ? "with this tensor, the sizes of those of type Q2_0 (42) are neither "
                           "those of blocks of 64 weights nor of 128"
                         : "the tensors of type Q2_0 (42) are too small to tell whether their "
                           "blocks are of 64 weights or of 128");
    }
    for (uint32_t i = 0; i < gguf->n_tensors; i++) {
        struct rsr_tensor *tensor = &gguf->tensors[i];
        if (tensor->blocks == RSR_BLOCKS_Q2_0) {
            tensor->blocks = RSR_BLOCKS_Q2_0_G128;
            tensor->size_bytes = size_of_128(tensor);
        }
    }
    return RSRC_OK;
}

/* ---- I2_S ------------------------------------------------------------------------------------ */

static enum rsrc_status refuse_i2s(struct rsrc_diag *diag, const struct rsr_tensor *tensor,
                                   const char *help, const char *problem) {
    const struct rsrc_place place = {
        .file = tensor->file, .has_offset = true, .offset = tensor->offset, .tensor = tensor->name};
    return rsrc_refuse(diag, "gguf-i2s-layout", &place, help, "%s", problem);
}

enum rsrc_status rsrc_gguf_find_i2s_layout(struct rsrc_diag *diag, struct rsrc_gguf *gguf,
                                           enum rsrc_i2s_layout wanted) {
    const struct rsr_tensor *any = NULL, *arm = NULL;
    for (uint32_t i = 0; i < gguf->n_tensors; i++) {
        const struct rsr_tensor *tensor = &gguf->tensors[i];
        if (tensor->blocks != RSR_BLOCKS_I2_S_X86)
            continue;
        any = any == NULL ? tensor : any;
        if (tensor->shape[tensor->n_dims - 1] % 128 != 0)
            arm = tensor;
    }
    if (any == NULL)
        return RSRC_OK;
    if (arm != NULL && wanted == RSRC_I2S_X86)
        return refuse_i2s(diag, arm, "leave out --i2s-layout=x86",
                          "its rows do not consist of the blocks of 128 weights that x86 writes");
    if (arm == NULL && wanted == RSRC_I2S_AUTO)
        return refuse_i2s(diag, any,
                          "say which machine quantised the model: --i2s-layout=x86 or "
                          "--i2s-layout=arm; the wrong one gives nonsense without an error",
                          "type I2_S (36) has one layout on x86 and another on ARM, and nothing in "
                          "the file says which this is");
    for (uint32_t i = 0; i < gguf->n_tensors && wanted != RSRC_I2S_X86; i++)
        if (gguf->tensors[i].blocks == RSR_BLOCKS_I2_S_X86)
            gguf->tensors[i].blocks = RSR_BLOCKS_I2_S_ARM;
    return RSRC_OK;
}
