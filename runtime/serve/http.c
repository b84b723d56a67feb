/* http.c - see http.h.
 *
 * libmicrohttpd's thread calls on_request() for every part of a request, on_peer() and
 * on_completed() when connections and requests begin and end, and read_stream() for data to send. A
 * reply that waits suspends its connection; wake() resumes it. libmicrohttpd does not notice that
 * the client of a suspended connection has gone, and does not close a connection that is slow but
 * not idle. watch() does both, on a thread of its own.
 */
#include <errno.h>
#include <microhttpd.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "access.h"
#include "http.h"
#include "job.h"
#include "listen.h"
#include "log.h"
#include "replies.h"
#include "settings.h"

enum {
    WATCH_MS = 100,
    CONNECTION_BYTES = 32 << 10, /* for headers and data to send; longer headers get 431 */
    BLOCK_BYTES = 16 << 10,      /* of a stream, sent at once */
    SPARE_CONNECTIONS = 64,      /* accepted beyond the limit, to send them a refusal */
    OTHER_FILES = 64,            /* other open files of the process */
    MAX_BODIES = 64,             /* bodies of --max-body bytes that are kept at once */
    DROPPED_BYTES = 64 << 20     /* of a body that is too long: read, and not kept */
};
#define SECOND_NS INT64_C(1000000000)

/* A connection, and the request on it. */
struct peer {
    struct serve_http *http;
    struct MHD_Connection *connection;
    int fd;
    struct peer *next, **link;
    int64_t silent_ns; /* when it began to wait for a request, or when its stream last sent
                          something */
    bool is_asking;    /* a whole request is there, and not answered in full */
    /* The request; used only by the HTTP thread. */
    struct serve_error refusal;
    struct rsr_bytes body;
    size_t body_seen;
    bool has_key, is_streaming, is_done;
    struct serve_reply reply;
    size_t sent; /* of the reply's body */
    const struct serve_later *later;
    void *user;
    /* Under the lock of http. */
    bool is_suspended, is_woken, has_gone, wants_comment;
};

struct serve_http {
    struct serve_server *server;
    serve_handler *handler;
    struct serve_access *access;
    struct MHD_Daemon *daemon;
    int fd; /* -1: closed */
    char address[320];
    char *tls_cert, *tls_key;
    size_t kept_bytes; /* of bodies; used only by the HTTP thread */
    uint32_t max_peers;
    atomic_uint n_requests;
    pthread_t watcher;
    bool has_watcher;
    /* Guards the members below, and the end of struct peer while a peer is in the list. */
    pthread_mutex_t lock;
    pthread_cond_t changed; /* the first peer has come, or the server ends */
    struct peer *peers;
    uint32_t n_peers;
    struct pollfd *polled; /* of watch() */
    size_t polled_capacity;
    bool is_ending;
};

/* ---- Waiting --------------------------------------------------------------------------------- */

/* With the lock. */
static void resume(struct peer *peer) {
    if (peer->is_suspended)
        MHD_resume_connection(peer->connection);
    else
        peer->is_woken = true;
    peer->is_suspended = false;
}

static void wake(void *waiter) {
    struct peer *peer = waiter;
    pthread_mutex_lock(&peer->http->lock);
    resume(peer);
    pthread_mutex_unlock(&peer->http->lock);
}

/* Why a waiting reply is asked. */
enum news { NEWS_NONE, NEWS_SOME, NEWS_COMMENT, NEWS_GONE };

/* NEWS_NONE: the connection is suspended until there is news. A wake since the reply was last asked
 * is not lost, because it has set is_woken. */
static enum news wait_for_news(struct peer *peer) {
    enum news news = NEWS_NONE;
    pthread_mutex_lock(&peer->http->lock);
    if (peer->has_gone || peer->http->is_ending)
        news = NEWS_GONE;
    else if (peer->is_woken)
        news = NEWS_SOME;
    else if (peer->wants_comment)
        news = NEWS_COMMENT;
    peer->is_woken = peer->wants_comment = false;
    if (news == NEWS_NONE) {
        peer->is_suspended = true;
        MHD_suspend_connection(peer->connection);
    }
    pthread_mutex_unlock(&peer->http->lock);
    return news;
}

static void set_silent(struct peer *peer, bool is_asking) {
    pthread_mutex_lock(&peer->http->lock);
    peer->silent_ns = serve_now_ns();
    peer->is_asking = is_asking;
    pthread_mutex_unlock(&peer->http->lock);
}

/* ---- Watching -------------------------------------------------------------------------------- */

/* Called with the lock. Shuts the socket down; libmicrohttpd then reads an end and closes the
 * connection. */
static void drop(const struct peer *peer) {
    shutdown(peer->fd, SHUT_RDWR);
}

/* Called with the lock. Asks the sockets of suspended connections whether their clients have closed
 * them. */
static void find_gone(struct serve_http *http) {
    size_t n = 0;
    if (http->n_peers > http->polled_capacity) {
        const size_t capacity = http->n_peers + SPARE_CONNECTIONS;
        struct pollfd *polled = realloc(http->polled, capacity * sizeof(*polled));
        if (!polled)
            return;
        http->polled = polled;
        http->polled_capacity = capacity;
    }
    for (struct peer *peer = http->peers; peer; peer = peer->next)
        if (peer->is_suspended)
            http->polled[n++] = (struct pollfd){.fd = peer->fd, .events = POLLRDHUP};
    if (n == 0 || poll(http->polled, n, 0) <= 0)
        return;
    n = 0;
    for (struct peer *peer = http->peers; peer; peer = peer->next) {
        if (!peer->is_suspended || http->polled[n++].revents == 0)
            continue;
        peer->has_gone = true;
        resume(peer);
    }
}

static void *watch(void *user) {
    struct serve_http *http = user;
    pthread_mutex_lock(&http->lock);
    while (!http->is_ending) {
        if (!http->peers)
            pthread_cond_wait(&http->changed, &http->lock);
        const int64_t now = serve_now_ns();
        for (struct peer *peer = http->peers; peer; peer = peer->next) {
            const int64_t silent = now - peer->silent_ns;
            if (!peer->is_asking && silent > SERVE_RECEIVE_S * SECOND_NS)
                drop(peer);
            if (peer->is_suspended && peer->is_streaming && silent > SERVE_COMMENT_S * SECOND_NS) {
                peer->wants_comment = true;
                resume(peer);
            }
        }
        find_gone(http);
        const int64_t next = now + WATCH_MS * (SECOND_NS / 1000);
        const struct timespec until = {.tv_sec = next / SECOND_NS, .tv_nsec = next % SECOND_NS};
        while (!http->is_ending && serve_now_ns() < next)
            pthread_cond_timedwait(&http->changed, &http->lock, &until);
    }
    pthread_mutex_unlock(&http->lock);
    return NULL;
}

/* ---- Replies --------------------------------------------------------------------------------- */

static ssize_t copy_out(struct peer *peer, char *out, size_t capacity) {
    struct rsr_bytes *body = &peer->reply.body;
    const size_t left = body->size - peer->sent, n = left < capacity ? left : capacity;
    memcpy(out, body->data + peer->sent, n);
    peer->sent += n;
    if (peer->sent == body->size)
        peer->sent = body->size = 0;
    set_silent(peer, true);
    return (ssize_t)n;
}

static ssize_t read_stream(void *user, uint64_t position, char *out, size_t capacity) {
    static const char comment[] = ": keep-alive\n\n";
    struct peer *peer = user;
    (void)position;
    for (;;) {
        if (peer->reply.body.size > 0)
            return copy_out(peer, out, capacity);
        if (peer->is_done)
            return MHD_CONTENT_READER_END_OF_STREAM;
        const enum serve_progress progress = peer->later->more(peer->user, &peer->reply.body);
        peer->is_done = progress == SERVE_DONE;
        const enum news news = progress == SERVE_WAIT ? wait_for_news(peer) : NEWS_SOME;
        if (news == NEWS_NONE)
            return 0;
        if (news == NEWS_GONE ||
            (news == NEWS_COMMENT &&
             !rsr_bytes_append(&peer->reply.body, comment, sizeof(comment) - 1)))
            return MHD_CONTENT_READER_END_WITH_ERROR;
    }
}

/* Takes the reply's body. NULL: no memory. */
static struct MHD_Response *make_response(struct peer *peer) {
    struct serve_reply *reply = &peer->reply;
    if (peer->later && !peer->is_done) {
        peer->is_streaming = true;
        return MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK_BYTES, read_stream, peer,
                                                 NULL);
    }
    if (reply->static_body) {
        char *text = (char *)(uintptr_t)reply->static_body; /* is only read */
        return MHD_create_response_from_buffer(reply->static_bytes, text, MHD_RESPMEM_PERSISTENT);
    }
    struct MHD_Response *response =
        MHD_create_response_from_buffer(reply->body.size, reply->body.data, MHD_RESPMEM_MUST_FREE);
    if (response)
        reply->body = (struct rsr_bytes){0};
    return response;
}

static const char *header(const struct peer *peer, const char *name) {
    return MHD_lookup_connection_value(peer->connection, MHD_HEADER_KIND, name);
}

static bool has_known_origin(const struct peer *peer) {
    return serve_access_knows_origin(peer->http->access, header(peer, "Origin"));
}

static bool add_headers(const struct peer *peer, struct MHD_Response *response) {
    const struct serve_reply *reply = &peer->reply;
    char seconds[16];
    snprintf(seconds, sizeof(seconds), "%u", reply->retry_after_s);
    const bool cors = has_known_origin(peer), stream = peer->is_streaming;
    /* Clients send their own headers, such as openai-node's X-Stainless-Lang; they have no effect
     * here, so all are allowed. */
    const char *asked = header(peer, "Access-Control-Request-Headers");
    const char *const headers[][2] = {
        {"Content-Type", reply->content_type},
        {"Cache-Control", "no-store"},
        {"X-Content-Type-Options", "nosniff"},
        {"Content-Security-Policy",
         reply->policy ? reply->policy : "default-src 'none'; frame-ancestors 'none'"},
        {"X-Accel-Buffering", stream ? "no" : NULL},
        {"Retry-After", reply->retry_after_s ? seconds : NULL},
        {"Allow", reply->allow},
        {"WWW-Authenticate", reply->status == 401 ? "Bearer" : NULL},
        {"Access-Control-Allow-Origin", cors ? header(peer, "Origin") : NULL},
        {"Access-Control-Allow-Methods", cors ? "GET, POST" : NULL},
        {"Access-Control-Allow-Headers", cors && asked && asked[0] ? asked
                                         : cors                    ? "Authorization, Content-Type"
                                                                   : NULL},
        {"Access-Control-Max-Age", cors ? "600" : NULL},
        {"Vary", peer->http->server->settings->cors ? "Origin" : NULL},
    };
    for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++)
        if (headers[i][1] &&
            MHD_add_response_header(response, headers[i][0], headers[i][1]) != MHD_YES)
            return false;
    return true;
}

static enum MHD_Result send_reply(struct peer *peer) {
    struct MHD_Response *response = make_response(peer);
    enum MHD_Result result = MHD_NO;
    if (response && add_headers(peer, response))
        result = MHD_queue_response(peer->connection, peer->reply.status, response);
    if (response)
        MHD_destroy_response(response);
    if (peer->reply.status >= 500 && peer->reply.status != 503)
        serve_log("a request was answered with status %u", peer->reply.status);
    return result;
}

/* Asks for more of a reply that comes later; MHD_NO closes the connection. */
static enum MHD_Result go_on(struct peer *peer) {
    enum serve_progress progress;
    while (peer->later && (progress = peer->later->begin(peer->user, &peer->reply)) != SERVE_MORE) {
        if (progress == SERVE_DONE) {
            peer->is_done = true;
            break;
        }
        const enum news news = wait_for_news(peer);
        if (news == NEWS_NONE || news == NEWS_GONE)
            return news == NEWS_NONE ? MHD_YES : MHD_NO;
    }
    return send_reply(peer);
}

/* ---- Requests -------------------------------------------------------------------------------- */

static bool says_json(const struct peer *peer) {
    static const char json[] = "application/json";
    const char *type = header(peer, "Content-Type");
    const size_t n = sizeof(json) - 1;
    return type && strncasecmp(type, json, n) == 0 && strchr("; \t", type[n]) != NULL;
}

static bool is_longer(const struct peer *peer, size_t n_bytes) {
    const char *length = header(peer, "Content-Length");
    return length && strtoull(length, NULL, 10) > n_bytes;
}

static void refuse_long(struct peer *peer) {
    serve_fail(&peer->refusal, 413, "request_too_large", NULL,
               "The request has more than the %zu bytes that --max-body allows.",
               peer->http->server->settings->max_body);
}

/* How much of a refused body is read. A client that sends everything before it reads would lose the
 * reply if the connection were closed earlier. */
static size_t most_read(const struct peer *peer) {
    const size_t most = 2 * peer->http->server->settings->max_body;
    return header(peer, "Content-Length") && most < DROPPED_BYTES ? DROPPED_BYTES : most;
}

/* Whether to refuse before the body comes: if the client waits for a reply (Expect), or its body is
 * too long to be read. */
static bool refuses_early(const struct peer *peer) {
    return peer->refusal.status == 413 &&
           (header(peer, "Expect") || is_longer(peer, most_read(peer)));
}

/* Checks a request by its headers. */
static void check_request(struct peer *peer, const char *method) {
    const char *host = header(peer, "Host");
    struct serve_error *error = &peer->refusal;
    peer->has_key = serve_access_has_key(peer->http->access, header(peer, "Authorization"));
    if (!serve_access_knows_host(peer->http->access, host))
        serve_fail(error, 403, "unknown_host", NULL,
                   "The Host header says \"%.100s\", which is not a known name of this server; the "
                   "option --allow-host %.100s allows it.",
                   host, host);
    else if (is_longer(peer, peer->http->server->settings->max_body))
        refuse_long(peer);
    else if (strcmp(method, "POST") == 0 && !says_json(peer))
        serve_fail(error, 415, "unsupported_media_type", NULL,
                   "The request must say \"Content-Type: application/json\".");
}

/* Keeps a part of the body. A body that is refused is read but not kept. */
static enum MHD_Result take_body(struct peer *peer, const char *data, size_t n) {
    struct serve_http *http = peer->http;
    const size_t max = http->server->settings->max_body;
    peer->body_seen += n;
    if (peer->body_seen > max && peer->refusal.status == 0)
        refuse_long(peer);
    if (peer->body_seen > most_read(peer)) /* a body that did not state its length */
        return MHD_NO;
    if (peer->refusal.status != 0 || !peer->has_key)
        return MHD_YES;
    if (http->kept_bytes + n > MAX_BODIES * max || !rsr_bytes_append(&peer->body, data, n)) {
        serve_fail(&peer->refusal, 503, "overloaded", NULL,
                   "Too many long requests come at once; try again.");
        return MHD_YES;
    }
    http->kept_bytes += n;
    return MHD_YES;
}

static void forget_body(struct peer *peer) {
    peer->http->kept_bytes -= peer->body.size;
    rsr_bytes_free(&peer->body);
    peer->body = (struct rsr_bytes){0};
}

static bool is_preflight(const struct peer *peer, const char *method) {
    return strcmp(method, "OPTIONS") == 0 && has_known_origin(peer) &&
           header(peer, "Access-Control-Request-Method");
}

/* Answers a request that is complete. */
static enum MHD_Result answer(struct peer *peer, const char *path, const char *method) {
    struct serve_http *http = peer->http;
    struct serve_reply *reply = &peer->reply;
    const size_t n_bytes = peer->body.size; /* bytes that were kept, before the terminating zero */
    atomic_fetch_add(&http->n_requests, 1);
    set_silent(peer, true);
    if (peer->refusal.status == 0 && !rsr_bytes_append(&peer->body, "", 1))
        serve_fail(&peer->refusal, 503, "overloaded", NULL, "There is no memory left; try again.");
    if (peer->refusal.status != 0) {
        serve_reply_error(reply, &peer->refusal);
    } else if (is_preflight(peer, method)) {
        serve_reply_static(reply, "text/plain", "", 0);
        reply->status = 204;
    } else {
        const struct serve_request request = {method, path, peer->body.data, n_bytes,
                                              peer->has_key};
        http->handler(http->server, &request, reply);
    }
    peer->body.size = n_bytes;
    forget_body(peer);
    peer->later = reply->later;
    peer->user = reply->user;
    if (peer->later)
        peer->later->wait(peer->user, wake, peer);
    return go_on(peer);
}

static enum MHD_Result on_request(void *user, struct MHD_Connection *connection, const char *path,
                                  const char *method, const char *version, const char *data,
                                  size_t *n, void **state) {
    struct peer *peer = *state;
    (void)user;
    (void)version;
    if (!peer) {
        peer = *state =
            MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
        if (!peer)
            return MHD_NO;
        check_request(peer, method);
        return refuses_early(peer) ? answer(peer, path, method) : MHD_YES;
    }
    if (*n > 0) {
        const enum MHD_Result result = take_body(peer, data, *n);
        *n = 0;
        return result;
    }
    return peer->is_asking ? go_on(peer) : answer(peer, path, method);
}

static void on_completed(void *user, struct MHD_Connection *connection, void **state,
                         enum MHD_RequestTerminationCode why) {
    struct peer *peer = *state;
    (void)user;
    (void)connection;
    (void)why;
    if (!peer)
        return;
    if (peer->later) {
        peer->later->wait(peer->user, NULL, NULL);
        if (!peer->is_done)
            peer->later->abandon(peer->user);
        peer->later->end(peer->user);
    }
    if (peer->is_asking)
        atomic_fetch_sub(&peer->http->n_requests, 1);
    forget_body(peer);
    rsr_bytes_free(&peer->reply.body);
    pthread_mutex_lock(&peer->http->lock);
    *peer = (struct peer){.http = peer->http,
                          .connection = peer->connection,
                          .fd = peer->fd,
                          .next = peer->next,
                          .link = peer->link,
                          .silent_ns = serve_now_ns()};
    pthread_mutex_unlock(&peer->http->lock);
    *state = NULL;
}

/* ---- Connections ----------------------------------------------------------------------------- */

/* Called with the lock. If there are too many connections, drops the one that has been without a
 * request for longest, which may be the new one. */
static void make_room(struct serve_http *http, struct peer *newest) {
    static const char busy[] =
        "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\n"
        "Content-Length: 0\r\n\r\n";
    struct peer *slowest = newest;
    for (struct peer *peer = http->peers; peer; peer = peer->next)
        if (!peer->is_asking && peer->silent_ns < slowest->silent_ns)
            slowest = peer;
    if (slowest == newest && !http->tls_cert) {
        const ssize_t sent = send(newest->fd, busy, sizeof(busy) - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
        (void)sent;
    }
    slowest->silent_ns = INT64_MAX; /* so it is not found again */
    drop(slowest);
}

static void add_peer(struct serve_http *http, struct MHD_Connection *connection, void **context) {
    struct peer *peer = calloc(1, sizeof(*peer));
    if (!peer)
        return;
    peer->http = http;
    peer->connection = connection;
    peer->fd = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    peer->silent_ns = serve_now_ns();
    pthread_mutex_lock(&http->lock);
    if (http->peers)
        http->peers->link = &peer->next;
    else
        pthread_cond_signal(&http->changed);
    peer->next = http->peers;
    peer->link = &http->peers;
    http->peers = peer;
    if (++http->n_peers > http->max_peers)
        make_room(http, peer);
    pthread_mutex_unlock(&http->lock);
    *context = peer;
}

static void remove_peer(struct serve_http *http, struct peer *peer) {
    pthread_mutex_lock(&http->lock);
    *peer->link = peer->next;
    if (peer->next)
        peer->next->link = peer->link;
    http->n_peers--;
    pthread_mutex_unlock(&http->lock);
    free(peer);
}

static void on_peer(void *user, struct MHD_Connection *connection, void **context,
                    enum MHD_ConnectionNotificationCode what) {
    if (what == MHD_CONNECTION_NOTIFY_STARTED)
        add_peer(user, connection, context);
    else if (*context)
        remove_peer(user, *context);
}

/* ---- Begin and end --------------------------------------------------------------------------- */

/* Prints libmicrohttpd's reason if it does not start; its later messages, about clients' mistakes,
 * are dropped. */
static void on_message(void *user, const char *format, va_list arguments) {
    const struct serve_http *http = user;
    char message[400];
    if (http->daemon || http->is_ending)
        return;
    vsnprintf(message, sizeof(message), format, arguments);
    message[strcspn(message, "\n")] = '\0';
    serve_log("libmicrohttpd: %s", message);
}

/* The number of connections that the limit of open files allows. */
static uint32_t count_connections(void) {
    struct rlimit files;
    const rlim_t wanted = SERVE_MAX_CONNECTIONS + SPARE_CONNECTIONS + OTHER_FILES;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0)
        return 256;
    if (files.rlim_cur < wanted) {
        files.rlim_cur = files.rlim_max < wanted ? files.rlim_max : wanted;
        setrlimit(RLIMIT_NOFILE, &files);
        getrlimit(RLIMIT_NOFILE, &files);
    }
    const rlim_t few = SPARE_CONNECTIONS + OTHER_FILES;
    return files.rlim_cur >= wanted ? SERVE_MAX_CONNECTIONS
           : files.rlim_cur > few   ? (uint32_t)(files.rlim_cur - few)
                                    : 1;
}

/* A whole small file as a string; NULL after a sentence. */
static char *read_pem(const char *path) {
    enum { MAX = 1 << 20 };
    FILE *file = fopen(path, "rbe");
    char *text = file ? calloc(1, MAX + 1) : NULL;
    const size_t n = text ? fread(text, 1, MAX, file) : 0;
    if (!text || ferror(file) || n == MAX) {
        serve_log("cannot read %s: %s", path, n == MAX ? "it is too long" : strerror(errno));
        free(text);
        text = NULL;
    }
    if (file)
        fclose(file);
    return text;
}

static bool start_daemon(struct serve_http *http) {
    const struct serve_settings *settings = http->server->settings;
    unsigned flags =
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC | MHD_USE_ERROR_LOG;
    struct MHD_OptionItem tls[3] = {{MHD_OPTION_END, 0, NULL}};
    if (settings->tls_cert) {
        http->tls_cert = read_pem(settings->tls_cert);
        http->tls_key = read_pem(settings->tls_key);
        if (!http->tls_cert || !http->tls_key)
            return false;
        flags |= MHD_USE_TLS;
        tls[0] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_CERT, 0, http->tls_cert};
        tls[1] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_KEY, 0, http->tls_key};
        tls[2] = (struct MHD_OptionItem){MHD_OPTION_END, 0, NULL};
    }
    /* The logger comes first, so that it reports problems with the other options. */
    http->daemon = MHD_start_daemon(
        flags, 0, NULL, NULL, on_request, http, MHD_OPTION_EXTERNAL_LOGGER, on_message, http,
        MHD_OPTION_LISTEN_SOCKET, http->fd, MHD_OPTION_NOTIFY_CONNECTION, on_peer, http,
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, http, MHD_OPTION_CONNECTION_LIMIT,
        http->max_peers + SPARE_CONNECTIONS, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)CONNECTION_BYTES, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)SERVE_RECEIVE_S,
        MHD_OPTION_ARRAY, tls, MHD_OPTION_END);
    return http->daemon || serve_log("cannot start the HTTP server");
}

struct serve_http *serve_http_create(struct serve_server *server, serve_handler *handler) {
    struct serve_http *http = calloc(1, sizeof(*http));
    pthread_condattr_t monotonic;
    if (!http) {
        serve_log("out of memory");
        return NULL;
    }
    http->server = server;
    http->handler = handler;
    http->max_peers = count_connections();
    pthread_mutex_init(&http->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&http->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    http->fd = -1;
    http->access = serve_access_create(server->settings);
    if (http->access)
        http->fd = serve_listen(server->settings, http->address, sizeof(http->address));
    bool ok = http->fd >= 0 && start_daemon(http);
    if (ok)
        ok = http->has_watcher = pthread_create(&http->watcher, NULL, watch, http) == 0;
    if (!ok) {
        serve_http_destroy(http);
        return NULL;
    }
    return http;
}

const char *serve_http_address(const struct serve_http *http) {
    return http->address;
}

void serve_http_close(struct serve_http *http) {
    if (http->daemon && http->fd >= 0)
        MHD_quiesce_daemon(http->daemon);
    serve_unlisten(http->server->settings, http->fd);
    http->fd = -1;
}

/* libmicrohttpd cannot be stopped while connections are suspended; once is_ending is set, none
 * is. */
void serve_http_destroy(struct serve_http *http) {
    if (!http)
        return;
    pthread_mutex_lock(&http->lock);
    http->is_ending = true;
    for (struct peer *peer = http->peers; peer; peer = peer->next)
        resume(peer);
    pthread_cond_signal(&http->changed);
    pthread_mutex_unlock(&http->lock);
    if (http->has_watcher)
        pthread_join(http->watcher, NULL);
    serve_http_close(http);
    if (http->daemon)
        MHD_stop_daemon(http->daemon);
    serve_access_destroy(http->access);
    pthread_cond_destroy(&http->changed);
    pthread_mutex_destroy(&http->lock);
    free(http->polled);
    free(http->tls_cert);
    free(http->tls_key);
    free(http);
}

uint32_t serve_http_requests(const struct serve_http *http) {
    return atomic_load(&http->n_requests);
}
