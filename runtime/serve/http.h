/* http.h - connections, by libmicrohttpd, which only http.c uses. Whole requests go to one handler;
 * replies go out at once, or in parts while a job runs.
 *
 * http.c checks the Host header, the body's size and the Content-Type of JSON before a handler sees
 * a request; it tells the handler whether the key is right. Everything runs on one thread, except
 * waking a reply.
 *
 * A connection without a whole request for SERVE_RECEIVE_S is closed. If there are too many
 * connections, the slowest of these is closed. A client that closes its connection, or its half of
 * it, counts as gone.
 */
#ifndef RSR_SERVE_HTTP_H
#define RSR_SERVE_HTTP_H

#include "serve.h"

struct serve_request {
    const char *method; /* "GET" */
    const char *path;   /* "/v1/models/tiny", decoded, without the query */
    const char *body;   /* NUL-terminated; may contain further NULs */
    size_t body_bytes;
    bool has_key; /* the key is right, or the server has none. Otherwise no body was kept */
};

enum {
    SERVE_MAX_CONNECTIONS = 4096,
    SERVE_RECEIVE_S = 60,
    SERVE_COMMENT_S = 15 /* a stream that is silent for this long gets a comment */
};

enum serve_progress {
    SERVE_WAIT, /* nothing new: ask again when woken */
    SERVE_MORE, /* something was added, more will come */
    SERVE_DONE  /* the reply is complete, with or without an addition */
};

struct serve_reply;

/* A reply that comes while a job runs. Its functions are called on the HTTP thread. */
struct serve_later {
    /* Called once with a function: call wake(waiter) when there is news, from any thread, any
     * number of times. Then called with NULL: after this returns, wake must not be called again. */
    void (*wait)(void *user, void (*wake)(void *waiter), void *waiter);
    /* Returns SERVE_WAIT, or fills status and content_type. With SERVE_DONE it fills the body, too,
     * and the reply is complete; with SERVE_MORE the body comes by more(). */
    enum serve_progress (*begin)(void *user, struct serve_reply *reply);
    /* Appends to the body. */
    enum serve_progress (*more)(void *user, struct rsr_bytes *body);
    /* The client has gone before SERVE_DONE. */
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
    const char *policy;     /* Content-Security-Policy; static; NULL: a page may load nothing */
    const struct serve_later *later; /* NULL: the reply is complete */
    void *user;                      /* of later */
};

/* Answers a request; `reply` is zeroed. */
typedef void serve_handler(struct serve_server *server, const struct serve_request *request,
                           struct serve_reply *reply);

struct serve_http;
/* Listens as the settings say, and answers until it is destroyed. NULL after a message on
 * stderr. */
struct serve_http *serve_http_create(struct serve_server *server, serve_handler *handler);
/* "http://127.0.0.1:8080" */
const char *serve_http_address(const struct serve_http *http);
/* Takes no new connections. */
void serve_http_close(struct serve_http *http);
/* Ends all connections. */
void serve_http_destroy(struct serve_http *http); /* may be NULL */
/* Number of whole requests that are not completely answered yet. */
uint32_t serve_http_requests(const struct serve_http *http);

#endif
