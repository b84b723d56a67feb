/* http.h - connections over libmicrohttpd, which this file alone knows: requests come to one
 * handler whole, and replies go out at once, or as a job goes on.
 *
 * Checked here, before a handler sees a request: the Host header, the body's size, that JSON says
 * so (Content-Type); of the key a handler is told. All of it runs on one thread, but for what wakes
 * a reply.
 *
 * A connection that has brought no whole request for SERVE_RECEIVE_S is closed, and so is the one
 * of them that is slowest where there are too many. A client that closes its connection, or its
 * half of it, has gone.
 */
#ifndef RSR_SERVE_HTTP_H
#define RSR_SERVE_HTTP_H

#include "serve.h"

struct serve_request {
    const char *method; /* "GET" */
    const char *path;   /* "/v1/models/tiny", decoded, without the query */
    const char *body;   /* NUL-terminated, may have more of them */
    size_t body_bytes;
    bool has_key; /* or there are none. Without it no body was kept */
};

enum {
    SERVE_MAX_CONNECTIONS = 4096,
    SERVE_RECEIVE_S = 60,
    SERVE_COMMENT_S = 15 /* a stream that is silent for so long gets a comment */
};

enum serve_progress {
    SERVE_WAIT, /* nothing new: ask again when woken */
    SERVE_MORE, /* something was added, and more will come */
    SERVE_DONE  /* something or nothing was added, and that was all */
};

struct serve_reply;

/* A reply that comes as a job goes on. Called on the HTTP thread. */
struct serve_later {
    /* Once: whoever waits is woken by wake(waiter), from any thread, as often as one likes; NULL:
     * not any more, also not later. */
    void (*wait)(void *user, void (*wake)(void *waiter), void *waiter);
    /* SERVE_WAIT; or fills status and content_type: with SERVE_DONE also the body, which is then
     * all of the reply; with SERVE_MORE it comes by more(). */
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
    unsigned retry_after_s; /* 0: no such header */
    const char *allow;      /* the header of 405; static, NULL: none */
    const char *policy;     /* Content-Security-Policy; static, NULL: nothing may be loaded */
    const struct serve_later *later; /* NULL: the reply is complete */
    void *user;                      /* of later */
};

/* Answers a request; `reply` is zeroed. */
typedef void serve_handler(struct serve_server *server, const struct serve_request *request,
                           struct serve_reply *reply);

struct serve_http;
/* Listens where the settings say, and answers until it is destroyed. NULL after a sentence on
 * stderr. */
struct serve_http *serve_http_create(struct serve_server *server, serve_handler *handler);
/* "http://127.0.0.1:8080" */
const char *serve_http_address(const struct serve_http *http);
/* Takes no new connections. */
void serve_http_close(struct serve_http *http);
/* Ends all connections. */
void serve_http_destroy(struct serve_http *http); /* may be NULL */
/* Requests that came whole and are not answered in full yet. */
uint32_t serve_http_requests(const struct serve_http *http);

#endif
