/* metrics.h - what /metrics tells: counters and histograms, added to by any thread without a
 * lock. */
#ifndef RSR_SERVE_METRICS_H
#define RSR_SERVE_METRICS_H

#include "scheduler.h"

/* name, unit after it included; help. All begin with "rsr_" in the text. */
#define SERVE_COUNTERS(X)                                                                          \
    X(REQUESTS, "requests_total", "Requests that were submitted to a model")                       \
    X(REFUSED, "requests_refused_total",                                                           \
      "Requests that were answered with an error before they began")                               \
    X(QUEUE_FULL, "requests_queue_full_total", "Requests that found the queue full")               \
    X(FINISHED, "requests_finished_total", "Requests that were answered in full")                  \
    X(CANCELLED, "requests_cancelled_total", "Requests whose client went away")                    \
    X(FAILED, "requests_failed_total", "Requests that failed after they had begun")                \
    X(PROMPT_TOKENS, "prompt_tokens_total", "Tokens of prompts, cached ones included")             \
    X(CACHED_TOKENS, "cached_tokens_total", "Tokens of prompts that the prefix cache had")         \
    X(GENERATED_TOKENS, "generated_tokens_total", "Tokens that were generated")                    \
    X(STEPS, "steps_total", "Batches that were evaluated")

/* name, help, lowest bound: each bound is twice the one before it. */
#define SERVE_HISTOGRAMS(X)                                                                        \
    X(TTFT, "time_to_first_token_seconds", "From a request to its first token", 0.001)             \
    X(INTER_TOKEN, "inter_token_seconds", "Between two tokens of a text", 0.0001)                  \
    X(END_TO_END, "request_seconds", "From a request to its last token", 0.001)                    \
    X(QUEUED, "queue_seconds", "From a request to its begin", 0.0001)                              \
    X(BATCH, "batch_tokens", "Tokens of a batch", 1)

#define SERVE_COUNTER_ID(id, name, help) SERVE_COUNT_##id,
#define SERVE_HISTOGRAM_ID(id, name, help, lowest) SERVE_TIME_##id,
enum serve_counter { SERVE_COUNTERS(SERVE_COUNTER_ID) SERVE_N_COUNTERS };
enum serve_histogram { SERVE_HISTOGRAMS(SERVE_HISTOGRAM_ID) SERVE_N_HISTOGRAMS };

struct serve_metrics *serve_metrics_create(void);
void serve_metrics_destroy(struct serve_metrics *metrics); /* may be NULL */
void serve_count(struct serve_metrics *metrics, enum serve_counter counter, uint64_t n);
uint64_t serve_counted(struct serve_metrics *metrics, enum serve_counter counter);
/* In the unit of the name. */
void serve_observe(struct serve_metrics *metrics, enum serve_histogram histogram, double value);

/* What has become of a job that was submitted, and of one that ends now. */
void serve_count_verdict(struct serve_metrics *metrics, enum serve_verdict verdict);
void serve_count_end(struct serve_metrics *metrics, const struct serve_job *job,
                     const struct serve_error *error);

/* All of it as Prometheus text, with gauges of the scheduler, the models' KV, head sketch and KV
 * index. */
bool serve_metrics_print(struct serve_server *server, struct rsr_bytes *text);

#endif
