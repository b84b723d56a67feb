/* weights_writer.c - writes packed weights into an object for the linker, or into a file with an
 * assembler stub.
 *
 * Equal blobs are stored once, found by their hashes.
 */
#include <inttypes.h>
#include <string.h>

#include "rsr_hash.h"
#include "driver/outputs.h"
#include "driver/weights.h"

enum rsrc_status rsrc_open_raw_weights(struct rsrc_weights *weights, const char *dir) {
    const char *path = rsrc_arena_printf(&weights->run->arena, "%s/model.weights", dir);
    weights->raw_dir = dir;
    if (rsrc_output_open(weights->run->diag, &weights->run->arena, path, &weights->raw) != RSRC_OK)
        return RSRC_FAILED;
    weights->raw_open = true;
    return RSRC_OK;
}

enum rsrc_status rsrc_open_weights_object(struct rsrc_weights *weights, const char *dir) {
    const char *path = rsrc_arena_printf(&weights->run->arena, "%s/weights.o", dir);
    if (rsrc_elf_open(weights->run->diag, &weights->run->arena, path, weights->inputs->triple,
                      &weights->elf) != RSRC_OK)
        return RSRC_FAILED;
    weights->elf_open = true;
    weights->is_hollow = weights->run->options->hollow;
    rsrc_begin_part(weights, "layers");
    return RSRC_OK;
}

void rsrc_begin_part(struct rsrc_weights *weights, const char *name) {
    if (weights->elf_open)
        rsrc_elf_begin_part(&weights->elf, name);
}

static const char *find_section(struct rsrc_weights *weights, const uint8_t hash[16],
                                uint64_t size_bytes) {
    for (uint32_t i = 0; i < weights->n_sections; i++)
        if (weights->sections[i].size_bytes == size_bytes &&
            memcmp(weights->sections[i].hash, hash, 16) == 0)
            return weights->sections[i].symbol;
    return NULL;
}

static void add_section(struct rsrc_weights *weights, const uint8_t hash[16], uint64_t size_bytes,
                        const char *symbol) {
    weights->sections =
        rsrc_arena_grown(&weights->run->arena, weights->sections, weights->n_sections,
                         &weights->capacity, sizeof(*weights->sections));
    struct rsrc_section_key *section = &weights->sections[weights->n_sections++];
    *section = (struct rsrc_section_key){.size_bytes = size_bytes, .symbol = symbol};
    memcpy(section->hash, hash, 16);
}

static enum rsrc_status begin_raw(struct rsrc_weights *weights, const char *symbol,
                                  uint32_t align) {
    static const uint8_t zeros[4096];
    uint64_t missing = (align - weights->raw_bytes % align) % align;
    weights->raw_bytes += missing;
    while (missing != 0) {
        const uint64_t n = missing < sizeof(zeros) ? missing : sizeof(zeros);
        if (rsrc_output_write(weights->run->diag, &weights->raw, zeros, n) != RSRC_OK)
            return RSRC_FAILED;
        missing -= n;
    }
    rsrc_buffer_printf(&weights->stub,
                       "    .globl %s\n    .hidden %s\n    .set %s, weights + %" PRIu64 "\n",
                       symbol, symbol, symbol, weights->raw_bytes);
    return RSRC_OK;
}

enum rsrc_status rsrc_begin_section(struct rsrc_weights *weights, const char *symbol,
                                    uint32_t align, uint64_t size_bytes) {
    if (weights->elf_open) {
        if (rsrc_elf_begin(weights->run->diag, &weights->elf, symbol, align, size_bytes) != RSRC_OK)
            return RSRC_FAILED;
        weights->blobs = rsrc_arena_grown(&weights->run->arena, weights->blobs, weights->n_blobs,
                                          &weights->blobs_capacity, sizeof(*weights->blobs));
        weights->blobs[weights->n_blobs++] =
            (struct rsrc_weights_blob){symbol, weights->elf.data_bytes, size_bytes};
    }
    return weights->raw_open ? begin_raw(weights, symbol, align) : RSRC_OK;
}

enum rsrc_status rsrc_write_section(struct rsrc_weights *weights, const void *bytes,
                                    uint64_t size_bytes) {
    if (weights->elf_open &&
        rsrc_elf_write(weights->run->diag, &weights->elf, bytes, size_bytes) != RSRC_OK)
        return RSRC_FAILED;
    if (!weights->raw_open)
        return RSRC_OK;
    weights->raw_bytes += size_bytes;
    return rsrc_output_write(weights->run->diag, &weights->raw, bytes, size_bytes);
}

/* The symbol of an equal blob; else a new one, which is told to be new. */
static const char *symbol_of(struct rsrc_weights *weights, const struct rsr_blob *blob,
                             bool *is_new) {
    const char *symbol = find_section(weights, blob->hash, blob->size_bytes);
    *is_new = symbol == NULL;
    if (symbol != NULL)
        return symbol;
    /* Targets of one module may pack the same layer differently. */
    symbol = weights->inputs->n_specs == 1 ? rsrc_arena_strdup(&weights->run->arena, blob->symbol)
                                           : rsrc_arena_printf(&weights->run->arena, "%s_%u",
                                                               blob->symbol, weights->n_sections);
    add_section(weights, blob->hash, blob->size_bytes, symbol);
    return symbol;
}

enum rsrc_status rsrc_emit_blob(struct rsrc_weights *weights, const struct rsr_blob *blob,
                                const char **symbol) {
    bool is_new = false;
    *symbol = blob->size_bytes != 0 ? symbol_of(weights, blob, &is_new) : NULL;
    if (!is_new)
        return RSRC_OK;
    if (rsrc_begin_section(weights, *symbol, blob->align, blob->size_bytes) != RSRC_OK)
        return RSRC_FAILED;
    struct rsrc_pieces pieces = {blob->bytes, blob->size_bytes, blob->is_mapped, 0};
    while (rsrc_next_piece(&pieces))
        if (rsrc_write_section(weights, pieces.bytes, pieces.n_bytes) != RSRC_OK)
            return RSRC_FAILED;
    return RSRC_OK;
}

enum rsrc_status rsrc_emit_codes(struct rsrc_weights *weights, const struct rsr_blob *blob,
                                 const char **symbol) {
    if (!weights->is_hollow)
        return rsrc_emit_blob(weights, blob, symbol);
    bool is_new = false;
    *symbol = blob->size_bytes != 0 ? symbol_of(weights, blob, &is_new) : NULL;
    if (is_new)
        rsrc_elf_reserve(&weights->elf, *symbol, blob->align, blob->size_bytes);
    return RSRC_OK;
}

static void hash_bytes(struct rsr_blob *blob) {
    struct rsr_hash hash;
    rsr_hash_init(&hash);
    struct rsrc_pieces pieces = {blob->bytes, blob->size_bytes, blob->is_mapped, 0};
    while (rsrc_next_piece(&pieces))
        rsr_hash_update(&hash, pieces.bytes, pieces.n_bytes);
    rsr_hash_final(&hash, blob->hash);
}

enum rsrc_status rsrc_emit_own_blob(struct rsrc_weights *weights, struct rsr_blob blob,
                                    const char **symbol) {
    hash_bytes(&blob);
    return rsrc_emit_blob(weights, &blob, symbol);
}

enum rsrc_status rsrc_emit_matrix(struct rsrc_weights *weights, struct rsr_blob blob,
                                  const char **symbol) {
    hash_bytes(&blob);
    return rsrc_emit_codes(weights, &blob, symbol);
}

/* Writes the stub, which tells the assembler where the blobs of model.weights are. */
static enum rsrc_status write_stub(struct rsrc_weights *weights) {
    struct rsrc_buffer stub = {0};
    const bool x86 = strncmp(weights->inputs->triple, "x86_64", 6) == 0;
    rsrc_buffer_printf(&stub,
                       "/* The weights, for the assembler: run it in this directory. */\n"
                       "    .section .lrodata, \"a%s\", %%progbits\n    .balign 2097152\n"
                       "weights:\n    .incbin \"model.weights\"\n",
                       x86 ? "l" : "");
    if (weights->stub.size_bytes != 0)
        rsrc_buffer_puts(&stub, weights->stub.data);
    rsrc_buffer_puts(&stub, "    .section .note.GNU-stack, \"\", %progbits\n");
    const enum rsrc_status status = rsrc_write_file(weights->run->diag, weights->raw_dir,
                                                    "weights.S", stub.data, stub.size_bytes);
    rsrc_buffer_free(&stub);
    return status;
}

enum rsrc_status rsrc_close_weights(struct rsrc_weights *weights) {
    if (weights->raw_open) {
        if (write_stub(weights) != RSRC_OK)
            return RSRC_FAILED;
        weights->raw_open = false;
        if (rsrc_output_commit(weights->run->diag, &weights->raw) != RSRC_OK)
            return RSRC_FAILED;
    }
    if (!weights->elf_open)
        return RSRC_OK;
    weights->elf_open = false;
    return rsrc_elf_close(weights->run->diag, &weights->run->arena, &weights->elf);
}

void rsrc_abandon_weights(struct rsrc_weights *weights) {
    rsrc_buffer_free(&weights->stub);
    if (weights->elf_open)
        rsrc_elf_abandon(&weights->elf);
    if (weights->raw_open)
        rsrc_output_abandon(&weights->raw);
}
