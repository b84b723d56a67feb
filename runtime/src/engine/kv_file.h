/* kv_file.h - the file of a saved sequence, little-endian, without gaps:
 *
 *     struct rsr_kv_file_header
 *     uint32_t tokens[n_tokens]
 *     of every page: its tokens' keys and values, token_bytes each, as the backend writes them, and
 *     their hash (rsr_hash.h), over the header's hash, the page's number (8 bytes) and them
 *
 * It has what is stored and nothing that is derived from it: an index of keys (louver) is made anew
 * of the same numbers by the code that would have made it, and has the same bits therefore.
 *
 * Every member but n_tokens and the hashes is what the engine that loads it would write.
 */
#ifndef RSR_KV_FILE_H
#define RSR_KV_FILE_H

#include <stdint.h>

#define RSR_KV_FILE_MAGIC "rsr kv\n\032"
#define RSR_KV_FILE_VERSION 1u /* grows with the layout */

struct rsr_kv_file_header {
    char magic[8];
    uint32_t version;
    uint32_t header_bytes;
    uint8_t model_hash[16];
    char compiler_version[16]; /* another compiler may add floats in another order */
    /* Of kernels of float activations, which round as they are made: a hash of what they are.
     * Zeros: there are none; kernels of int8 all give the same bits. */
    uint8_t float_kernels[16];
    char kv_type[8];    /* texts end in zeros */
    char attention[96]; /* as far as keys and values depend on it */
    uint32_t n_layers, n_kv_heads, head_dim, page_tokens;
    uint64_t token_bytes;
    uint64_t file_bytes;
    uint32_t n_tokens;
    uint32_t reserved;       /* 0 */
    uint8_t tokens_hash[16]; /* of the tokens */
    uint8_t hash[16];        /* of the header with zeros here */
};

/* For who writes files. */
void rsr_kv_file_hash_header(const struct rsr_kv_file_header *header, uint8_t hash[16]);
void rsr_kv_file_hash_page(const struct rsr_kv_file_header *header, uint64_t number,
                           const void *bytes, uint64_t n_bytes, uint8_t hash[16]);

#endif
