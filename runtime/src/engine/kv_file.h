/* kv_file.h - the file of a saved sequence, little-endian, without gaps:
 *
 *     struct rsr_kv_file_header
 *     uint32_t tokens[n_tokens]
 *     of every page: its tokens' keys and values, token_bytes each, as the backend writes them, and
 *     their hash (rsr_hash.h), over the header's hash, the page's number (8 bytes) and them
 *     if state_tokens is not 0: the recurrent state of the first state_tokens tokens, and its hash,
 *     as if it were the page after the last one
 *
 * The file holds stored keys and values, and nothing that is derived from them. An index of keys
 * (louver) is built anew from these numbers by the code that built it before, so it has the same
 * bits.
 *
 * An engine loads only a file whose members, except n_tokens, state_tokens and hashes, are what it
 * would write itself.
 */
#ifndef RSR_KV_FILE_H
#define RSR_KV_FILE_H

#include <stdint.h>

#define RSR_KV_FILE_MAGIC "rsr kv\n\032"
#define RSR_KV_FILE_VERSION 2u /* increases when the layout changes */

struct rsr_kv_file_header {
    char magic[8];
    uint32_t version;
    uint32_t header_bytes;
    uint8_t model_hash[16];
    char compiler_version[16]; /* another version may add floats in another order */
    /* Hash of the kernels with float activations, whose rounding depends on the kernel. Zeros:
     * there are none. Kernels of int8 all give the same bits. */
    uint8_t float_kernels[16];
    char kv_type[8];    /* texts end in zeros */
    char state_type[8]; /* empty: the model has no recurrent states */
    char attention[96]; /* rsr_kv_saved.attention */
    uint32_t n_layers, n_kv_heads, head_dim, page_tokens;
    uint64_t token_bytes;
    uint64_t file_bytes;
    uint32_t n_tokens;
    uint32_t state_tokens;   /* 0: the file has no recurrent state */
    uint8_t tokens_hash[16]; /* of the tokens */
    uint8_t hash[16];        /* of the header with zeros in this field */
};

/* Hashes a header with zeros in place of its hash. */
void rsr_kv_file_hash_header(const struct rsr_kv_file_header *header, uint8_t hash[16]);
void rsr_kv_file_hash_page(const struct rsr_kv_file_header *header, uint64_t number,
                           const void *bytes, uint64_t n_bytes, uint8_t hash[16]);

#endif
