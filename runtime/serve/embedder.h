/* embedder.h - the thread that computes embeddings, a job at a time and a text at a time; the
 * engine lets texts that are generated go first between the parts of a long one. The rules are
 * those of scheduler.h. */
#ifndef RSR_SERVE_EMBEDDER_H
#define RSR_SERVE_EMBEDDER_H

#include "scheduler.h"

struct serve_embedder *serve_embedder_create(struct serve_server *server);
void serve_embedder_destroy(struct serve_embedder *embedder); /* may be NULL */
/* The most tokens of a text. */
uint32_t serve_embedder_max_tokens(const struct serve_model *model);
/* The most tokens of what the model is for: texts that it generates, with their prompts, or texts
 * to embed. */
uint32_t serve_max_tokens(const struct serve_model *model);
enum serve_verdict serve_embedder_submit(struct serve_embedder *embedder, struct serve_job *job);
void serve_embedder_close(struct serve_embedder *embedder);
/* Jobs that are queued or computed. */
uint32_t serve_embedder_load(struct serve_embedder *embedder);

#endif
