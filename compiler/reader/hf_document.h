/* hf_document.h - a JSON document of a Hugging Face checkpoint that is being read, with the
 * functions by which hf_*.c read it. A refusal is a diagnostic and sets `failed`; reading goes on,
 * so that one run shows every problem.
 */
#ifndef RSRC_READER_HF_DOCUMENT_H
#define RSRC_READER_HF_DOCUMENT_H

#include "base/json.h"
#include "reader/reader.h"

#define RSRC_CONFIG_SLUG "config"

struct rsrc_family;

struct rsrc_hf_document {
    struct rsrc_diag *diag;
    struct rsrc_arena *arena;
    const char *file;
    const json_t *root;
    struct rsr_config *config;
    bool failed;
};

/* help may be NULL. */
void rsrc_hf_refuse(struct rsrc_hf_document *doc, const char *slug, const char *help,
                    const char *format, ...) __attribute__((format(printf, 4, 5)));

/* NULL: absent, or null. */
json_t *rsrc_hf_field(const json_t *object, const char *key);

/* The value, or the fallback. A value of another type or outside 1..max is refused. */
uint32_t rsrc_hf_count(struct rsrc_hf_document *doc, const json_t *object, const char *key,
                       uint32_t max, uint32_t fallback);
double rsrc_hf_number(struct rsrc_hf_document *doc, const json_t *object, const char *key,
                      double fallback);
const char *rsrc_hf_string(struct rsrc_hf_document *doc, const json_t *object, const char *key,
                           const char *fallback);
bool rsrc_hf_flag(struct rsrc_hf_document *doc, const json_t *object, const char *key,
                  bool fallback);

/* The document as a JSON object, owned by the caller; NULL: refused. */
json_t *rsrc_hf_parse(struct rsrc_diag *diag, const char *file, const uint8_t *bytes,
                      uint64_t size_bytes);

/* hf_rope.c: rotations of the blocks, and the blocks that see a window of keys. */
void rsrc_hf_read_rope(struct rsrc_hf_document *doc, const struct rsrc_family *family);

/* hf_delta.c: blocks with a gated delta rule, and the part of a head that is rotated; rope: the
 * object of the rotation, or NULL. */
void rsrc_hf_read_deltas(struct rsrc_hf_document *doc);
void rsrc_hf_read_rotary(struct rsrc_hf_document *doc, const json_t *rope, double fallback);

/* hf_quantization.c: the kind of the linear layers' weights, and their activations. */
void rsrc_hf_read_quantization(struct rsrc_hf_document *doc, const struct rsrc_family *family);

/* hf_sampling.c: the sampling settings of generation_config.json. */
void rsrc_hf_read_sampling(struct rsrc_hf_document *doc);

#endif
