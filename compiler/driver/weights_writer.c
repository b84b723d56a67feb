/* weights_writer.c - packed weights: to an object for the linker, or to a file with an assembler
 * stub.
 *
 * Equal blobs are stored once, found by their hashes.
 */
#include <inttypes.h>
#include <string.h>

#include "base/hash.h"
#include "driver/driver.h"

enum rsrc_status rsrc_open_raw_weights(struct rsrc_compilation *c) {
    const char *path = rsrc_arena_printf(&c->arena, "%s/model.weights", c->out_dir.temporary);
    if (rsrc_output_open(c->diag, &c->arena, path, &c->weights.raw) != RSRC_OK)
        return RSRC_FAILED;
    c->weights.raw_open = true;
    return RSRC_OK;
}

enum rsrc_status rsrc_open_weights_object(struct rsrc_compilation *c) {
    const char *path = rsrc_arena_printf(&c->arena, "%s/weights.o", c->work_dir);
    if (rsrc_elf_open(c->diag, &c->arena, path, c->specs[0].triple, &c->weights.elf) != RSRC_OK)
        return RSRC_FAILED;
    c->weights.elf_open = true;
    return RSRC_OK;
}

static const char *find_section(struct rsrc_weights_writer *weights, const uint8_t hash[16],
                                uint64_t size_bytes) {
    for (uint32_t i = 0; i < weights->n_sections; i++)
        if (weights->sections[i].size_bytes == size_bytes &&
            memcmp(weights->sections[i].hash, hash, 16) == 0)
            return weights->sections[i].symbol;
    return NULL;
}

static void add_section(struct rsrc_compilation *c, const uint8_t hash[16], uint64_t size_bytes,
                        const char *symbol) {
    struct rsrc_weights_writer *weights = &c->weights;
    weights->sections = rsrc_arena_grown(&c->arena, weights->sections, weights->n_sections,
                                         &weights->capacity, sizeof(*weights->sections));
    struct rsrc_section_key *section = &weights->sections[weights->n_sections++];
    *section = (struct rsrc_section_key){.size_bytes = size_bytes, .symbol = symbol};
    memcpy(section->hash, hash, 16);
}

static enum rsrc_status begin_raw(struct rsrc_compilation *c, const char *symbol, uint32_t align) {
    static const uint8_t zeros[4096];
    struct rsrc_weights_writer *weights = &c->weights;
    uint64_t missing = (align - weights->raw_bytes % align) % align;
    weights->raw_bytes += missing;
    while (missing != 0) {
        const uint64_t n = missing < sizeof(zeros) ? missing : sizeof(zeros);
        if (rsrc_output_write(c->diag, &weights->raw, zeros, n) != RSRC_OK)
            return RSRC_FAILED;
        missing -= n;
    }
    rsrc_buffer_printf(&weights->stub,
                       "    .globl %s\n    .hidden %s\n    .set %s, weights + %" PRIu64 "\n",
                       symbol, symbol, symbol, weights->raw_bytes);
    return RSRC_OK;
}

enum rsrc_status rsrc_begin_section(struct rsrc_compilation *c, const char *symbol, uint32_t align,
                                    uint64_t size_bytes) {
    struct rsrc_weights_writer *weights = &c->weights;
    if (weights->elf_open &&
        rsrc_elf_begin(c->diag, &weights->elf, symbol, align, size_bytes) != RSRC_OK)
        return RSRC_FAILED;
    return weights->raw_open ? begin_raw(c, symbol, align) : RSRC_OK;
}

enum rsrc_status rsrc_write_section(struct rsrc_compilation *c, const void *bytes,
                                    uint64_t size_bytes) {
    struct rsrc_weights_writer *weights = &c->weights;
    if (weights->elf_open && rsrc_elf_write(c->diag, &weights->elf, bytes, size_bytes) != RSRC_OK)
        return RSRC_FAILED;
    if (!weights->raw_open)
        return RSRC_OK;
    weights->raw_bytes += size_bytes;
    return rsrc_output_write(c->diag, &weights->raw, bytes, size_bytes);
}

enum rsrc_status rsrc_emit_blob(struct rsrc_compilation *c, const struct rsr_blob *blob,
                                const char **symbol) {
    *symbol = NULL;
    if (blob->size_bytes == 0)
        return RSRC_OK;
    const char *known = find_section(&c->weights, blob->hash, blob->size_bytes);
    if (known != NULL) {
        *symbol = known;
        return RSRC_OK;
    }
    /* Targets of one module may pack the same layer differently. */
    *symbol = c->n_specs == 1
                  ? rsrc_arena_strdup(&c->arena, blob->symbol)
                  : rsrc_arena_printf(&c->arena, "%s_%u", blob->symbol, c->weights.n_sections);
    add_section(c, blob->hash, blob->size_bytes, *symbol);
    if (rsrc_begin_section(c, *symbol, blob->align, blob->size_bytes) != RSRC_OK)
        return RSRC_FAILED;
    return rsrc_write_section(c, blob->bytes, blob->size_bytes);
}

enum rsrc_status rsrc_emit_own_blob(struct rsrc_compilation *c, struct rsr_blob blob,
                                    const char **symbol) {
    struct rsrc_hash hash;
    rsrc_hash_init(&hash);
    rsrc_hash_update(&hash, blob.bytes, blob.size_bytes);
    rsrc_hash_final(&hash, blob.hash);
    return rsrc_emit_blob(c, &blob, symbol);
}

/* What tells the assembler where the blobs of model.weights are. */
static enum rsrc_status write_stub(struct rsrc_compilation *c) {
    struct rsrc_buffer stub = {0};
    const bool x86 = strncmp(c->specs[0].triple, "x86_64", 6) == 0;
    rsrc_buffer_printf(&stub,
                       "/* The weights, for the assembler: run it in this directory. */\n"
                       "    .section .lrodata, \"a%s\", %%progbits\n    .balign 2097152\n"
                       "weights:\n    .incbin \"model.weights\"\n",
                       x86 ? "l" : "");
    if (c->weights.stub.size_bytes != 0)
        rsrc_buffer_puts(&stub, c->weights.stub.data);
    rsrc_buffer_puts(&stub, "    .section .note.GNU-stack, \"\", %progbits\n");
    const enum rsrc_status status =
        rsrc_write_file(c, c->out_dir.temporary, "weights.S", stub.data, stub.size_bytes);
    rsrc_buffer_free(&stub);
    return status;
}

enum rsrc_status rsrc_close_weights(struct rsrc_compilation *c) {
    struct rsrc_weights_writer *weights = &c->weights;
    if (weights->raw_open) {
        if (write_stub(c) != RSRC_OK)
            return RSRC_FAILED;
        weights->raw_open = false;
        if (rsrc_output_commit(c->diag, &weights->raw) != RSRC_OK)
            return RSRC_FAILED;
    }
    if (!weights->elf_open)
        return RSRC_OK;
    weights->elf_open = false;
    return rsrc_elf_close(c->diag, &weights->elf);
}

void rsrc_abandon_weights(struct rsrc_compilation *c) {
    rsrc_buffer_free(&c->weights.stub);
    if (c->weights.elf_open)
        rsrc_elf_abandon(&c->weights.elf);
    if (c->weights.raw_open)
        rsrc_output_abandon(&c->weights.raw);
}
