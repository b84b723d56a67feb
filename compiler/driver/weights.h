/* weights.h - writes packed weights: into an object file for the linker, or into a file with an
 * assembler stub. */
#ifndef RSRC_DRIVER_WEIGHTS_H
#define RSRC_DRIVER_WEIGHTS_H

#include "base/mapped_file.h"
#include "driver/inputs.h"
#include "link/elf_writer.h"

struct rsrc_weights {
    struct rsrc_run *run;
    const struct rsrc_input_set *inputs;
    struct rsrc_elf_writer elf;
    bool elf_open;
    bool is_hollow; /* rsrc_emit_matrix() stores no bytes */
    const char *raw_dir;
    struct rsrc_output raw; /* <raw_dir>/model.weights */
    uint64_t raw_bytes;
    bool raw_open;
    struct rsrc_buffer stub; /* <raw_dir>/weights.S */
    struct rsrc_section_key {
        uint8_t hash[16];
        uint64_t size_bytes;
        const char *symbol;
    } * sections;
    uint32_t n_sections, capacity;
    struct rsrc_weights_blob {
        const char *symbol;
        uint64_t at, size_bytes; /* in the object's section */
    } * blobs;
    uint32_t n_blobs, blobs_capacity;
};

RSRC_NODISCARD enum rsrc_status rsrc_open_raw_weights(struct rsrc_weights *weights,
                                                      const char *dir);
RSRC_NODISCARD enum rsrc_status rsrc_open_weights_object(struct rsrc_weights *weights,
                                                         const char *dir);
/* Names the next part of the weights: rsrc_elf_begin_part(). */
void rsrc_begin_part(struct rsrc_weights *weights, const char *name);
/* Stores a blob once, by its hash; *symbol is the section that has its bytes, NULL if it is
 * empty. */
RSRC_NODISCARD enum rsrc_status rsrc_emit_blob(struct rsrc_weights *weights,
                                               const struct rsr_blob *blob, const char **symbol);
/* The same for codes of layers. A hollow module has their place in memory alone. */
RSRC_NODISCARD enum rsrc_status rsrc_emit_codes(struct rsrc_weights *weights,
                                                const struct rsr_blob *blob, const char **symbol);
/* Stores a blob that does not come from lowering and has no hash yet. */
RSRC_NODISCARD enum rsrc_status rsrc_emit_own_blob(struct rsrc_weights *weights,
                                                   struct rsr_blob blob, const char **symbol);
/* The same for a matrix of floats. A hollow module has its place in memory alone. */
RSRC_NODISCARD enum rsrc_status rsrc_emit_matrix(struct rsrc_weights *weights, struct rsr_blob blob,
                                                 const char **symbol);
/* A section of its own that is written piece by piece. */
RSRC_NODISCARD enum rsrc_status rsrc_begin_section(struct rsrc_weights *weights, const char *symbol,
                                                   uint32_t align, uint64_t size_bytes);
RSRC_NODISCARD enum rsrc_status rsrc_write_section(struct rsrc_weights *weights, const void *bytes,
                                                   uint64_t size_bytes);
RSRC_NODISCARD enum rsrc_status rsrc_close_weights(struct rsrc_weights *weights);
void rsrc_abandon_weights(struct rsrc_weights *weights);

#endif
