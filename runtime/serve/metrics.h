/* metrics.h - the counters and histograms of /metrics. Any thread adds to them without a lock. */
#ifndef RSR_SERVE_METRICS_H
#define RSR_SERVE_METRICS_H

#include "scheduler.h"

/* Name with its unit; help. In the text all names begin with "rsr_". */
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

/* Name, help, lowest bound. Each bound is twice the one before. */
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
/* Adds a value, in the unit of the histogram's name. */
void serve_observe(struct serve_metrics *metrics, enum serve_histogram histogram, double value);

/* Count the verdict on a submitted job, and the result of a job that ends. */
void serve_count_verdict(struct serve_metrics *metrics, enum serve_verdict verdict);
void serve_count_end(struct serve_metrics *metrics, const struct serve_job *job,
                     const struct serve_error *error);

/* Writes everything as Prometheus text, with gauges of the scheduler and of the models' KV memory,
 * head sketch and KV index. */
bool serve_metrics_print(struct serve_server *server, struct rsr_bytes *text);

#endif
