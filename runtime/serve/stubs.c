/* stubs.c - stands in for files that are on their way; goes when they are there. */
#include <stdlib.h>
#include <time.h>

#include "embedder.h"
#include "metrics.h"
#include "replies.h"
#include "routes.h"

#define WEAK __attribute__((weak))
#define STUB(name)                                                                                 \
    WEAK void name(struct serve_server *server, const struct serve_request *request,               \
                   struct serve_reply *reply) {                                                    \
        (void)server, (void)request;                                                               \
        struct serve_error error;                                                                  \
        serve_fail(&error, 501, "not_implemented", NULL, #name " is not there yet.");              \
        serve_reply_error(reply, &error);                                                          \
    }
STUB(serve_completions)
STUB(serve_chat)
STUB(serve_embeddings)
STUB(serve_tokenize)
STUB(serve_detokenize)
STUB(serve_apply_template)
STUB(serve_tokenizer_info)
STUB(serve_page)

WEAK int64_t serve_now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}
WEAK struct serve_scheduler *serve_scheduler_create(struct serve_server *server) {
    (void)server;
    return malloc(1);
}
WEAK void serve_scheduler_destroy(struct serve_scheduler *scheduler) {
    free(scheduler);
}
WEAK void serve_scheduler_close(struct serve_scheduler *scheduler) {
    (void)scheduler;
}
WEAK struct serve_load serve_scheduler_load(struct serve_scheduler *scheduler) {
    (void)scheduler;
    return (struct serve_load){.is_idle = true};
}
WEAK size_t serve_scheduler_slots(struct serve_scheduler *scheduler, struct serve_slot *slots,
                                  size_t capacity) {
    (void)scheduler, (void)slots, (void)capacity;
    return 0;
}
WEAK struct serve_embedder *serve_embedder_create(struct serve_server *server) {
    (void)server;
    return malloc(1);
}
WEAK void serve_embedder_destroy(struct serve_embedder *embedder) {
    free(embedder);
}
WEAK void serve_embedder_close(struct serve_embedder *embedder) {
    (void)embedder;
}
WEAK uint32_t serve_embedder_load(struct serve_embedder *embedder) {
    (void)embedder;
    return 0;
}
WEAK struct serve_metrics *serve_metrics_create(void) {
    return malloc(1);
}
WEAK void serve_metrics_destroy(struct serve_metrics *metrics) {
    free(metrics);
}
WEAK bool serve_metrics_print(struct serve_server *server, struct rsr_bytes *text) {
    (void)server;
    return rsr_bytes_append(text, "\n", 1);
}
