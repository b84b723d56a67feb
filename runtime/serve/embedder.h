/* embedder.h - the thread that computes embeddings, one job after another. Between the parts of a
 * long text the engine lets generated texts go first. The functions have the rules of
 * scheduler.h. */
#ifndef RSR_SERVE_EMBEDDER_H
#define RSR_SERVE_EMBEDDER_H

#include "scheduler.h"

struct serve_embedder *serve_embedder_create(struct serve_server *server);
void serve_embedder_destroy(struct serve_embedder *embedder); /* may be NULL */
/* The most tokens of a text. */
uint32_t serve_embedder_max_tokens(const struct serve_model *model);
/* The most tokens for the model's purpose: of a prompt and its generated text, or of a text to
 * embed. */
uint32_t serve_max_tokens(const struct serve_model *model);
enum serve_verdict serve_embedder_submit(struct serve_embedder *embedder, struct serve_job *job);
void serve_embedder_close(struct serve_embedder *embedder);
/* Number of jobs that are queued or being computed. */
uint32_t serve_embedder_load(struct serve_embedder *embedder);

#endif
