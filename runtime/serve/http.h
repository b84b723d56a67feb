/* http.h - connections over libmicrohttpd, which this file alone knows: requests come to one handler whole, and
 * replies go out at once, or as a job goes on.
 *
 * Checked here, before a handler sees a request: the Host header, the API key, the body's size, that JSON
 * says so (Content-Type), the server's state. All of it runs on one thread, but for serve_http_wake().
 */
#ifndef RSR_SERVE_HTTP_H
#define RSR_SERVE_HTTP_H

#include "serve.h"

struct serve_request {
    const char *method; /* "GET" */
    const char *path;   /* "/v1/models/tiny", decoded, without the query */
    const char *body;   /* NUL-terminated, may have more of them */
    size_t body_bytes;
};

enum serve_progress {
    SERVE_WAIT, /* nothing new: ask again when woken */
    SERVE_MORE, /* something was added, and more will come */
    SERVE_DONE  /* something or nothing was added, and that was all */
};

struct serve_reply;

/* A reply that comes as a job goes on. Called on the HTTP thread. */
struct serve_later {
    /* Once: whoever waits is woken by wake(waiter), from any thread, as often as one likes; NULL: not any
     * more, also not later. */
    void (*wait)(void *user, void (*wake)(void *waiter), void *waiter);
    /* SERVE_WAIT; or fills status and content_type: with SERVE_DONE also the body, which is then all of the
     * reply; with SERVE_MORE it comes by more(). */
    enum serve_progress (*begin)(void *user, struct serve_reply *reply);
    /* Appends to the body. */
    enum serve_progress (*more)(void *user, struct rsr_bytes *body);
    /* The client has gone, before SERVE_DONE. */
    void (*abandon)(void *user);
    /* The last call. */
    void (*end)(void *user);
};

struct serve_reply {
    unsigned status;          /* of HTTP */
    const char *content_type; /* static */
    struct rsr_bytes body;    /* owned */
    const char *static_body;  /* in place of body; NULL: body */
    size_t static_bytes;
    unsigned retry_after_s;          /* 0: no such header */
    const struct serve_later *later; /* NULL: the reply is complete */
    void *user;                      /* of later */
};

/* Answers a request; `reply` is zeroed. */
typedef void serve_handler(struct serve_server *server, const struct serve_request *request,
                           struct serve_reply *reply);

struct serve_http;
/* Listens where the settings say, and answers until it is destroyed. NULL after a sentence on stderr. */
struct serve_http *serve_http_create(struct serve_server *server, serve_handler *handler);
/* Takes no new connections. */
void serve_http_close(struct serve_http *http);
/* Ends all connections. */
void serve_http_destroy(struct serve_http *http); /* may be NULL */
/* Open connections, and those that wait for a job. */
uint32_t serve_http_connections(const struct serve_http *http);

#endif
