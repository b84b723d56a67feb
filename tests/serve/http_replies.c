/* http_replies.c - tests http.c alone: a thread makes replies to the clients of http_replies.py.
 * Usage: http_replies OPTIONS, which are options of rsr-serve; the model among them is not opened.
 * If its name is "loading", the program has the routes of rsr-serve.
 *
 * POST /plain N answers after N ticks of the thread, POST /stream N sends an event at each of N
 * ticks, POST /never one event and then nothing; GET /counts returns how they ended. Ends at
 * SIGTERM, with status 1 if some reply was not ended, or ended twice.
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "http.h"
#include "log.h"
#include "replies.h"
#include "routes.h"
#include "settings.h"

/* The reply that a client waits for. */
struct ticket {
    pthread_mutex_t lock;
    void (*wake)(void *waiter);
    void *waiter;
    uint32_t n_wanted, n_ticks, n_sent; /* under the lock, except n_sent */
    uint32_t n_until_silence;           /* ticks after which nothing comes */
    bool streams, is_over;
    struct ticket *next; /* under the lock of all tickets */
};

static struct {
    pthread_mutex_t lock;
    struct ticket *first;
    bool is_ending;
} tickets = {.lock = PTHREAD_MUTEX_INITIALIZER};
static atomic_uint n_begun, n_done, n_abandoned, n_ended;

/* ---- The thread ------------------------------------------------------------------------------ */

/* The caller holds the lock of all tickets. If a wake is lost, no later wake replaces it. */
static void tick(struct ticket *ticket) {
    pthread_mutex_lock(&ticket->lock);
    const bool is_new = ticket->n_ticks < ticket->n_until_silence;
    ticket->n_ticks += is_new;
    if (is_new && ticket->wake)
        ticket->wake(ticket->waiter);
    pthread_mutex_unlock(&ticket->lock);
}

/* The caller holds the lock of all tickets. */
static void drop_over(void) {
    for (struct ticket **link = &tickets.first; *link;) {
        struct ticket *ticket = *link;
        pthread_mutex_lock(&ticket->lock);
        const bool is_over = ticket->is_over;
        pthread_mutex_unlock(&ticket->lock);
        if (!is_over) {
            link = &ticket->next;
            continue;
        }
        *link = ticket->next;
        pthread_mutex_destroy(&ticket->lock);
        free(ticket);
    }
}

static void *make_ticks(void *user) {
    const struct timespec pause = {.tv_nsec = 200 * 1000};
    bool is_ending = false;
    for (unsigned n = 0; !is_ending; n++) {
        pthread_mutex_lock(&tickets.lock);
        unsigned i = 0;
        for (struct ticket *ticket = tickets.first; ticket; ticket = ticket->next)
            if ((n + i++) % 3 == 0)
                tick(ticket);
        drop_over();
        is_ending = tickets.is_ending;
        pthread_mutex_unlock(&tickets.lock);
        nanosleep(&pause, NULL);
    }
    return user;
}

/* ---- Replies --------------------------------------------------------------------------------- */

static void wait(void *user, void (*wake)(void *waiter), void *waiter) {
    struct ticket *ticket = user;
    pthread_mutex_lock(&ticket->lock);
    ticket->wake = wake;
    ticket->waiter = waiter;
    pthread_mutex_unlock(&ticket->lock);
}

/* Sometimes it delays its report, so that a tick comes meanwhile. */
static uint32_t ticks_of(struct ticket *ticket) {
    static unsigned n_asked; /* only on the HTTP thread */
    const struct timespec pause = {.tv_nsec = 2 * 1000 * 1000};
    pthread_mutex_lock(&ticket->lock);
    const uint32_t n = ticket->n_ticks;
    pthread_mutex_unlock(&ticket->lock);
    if (++n_asked % 64 == 0)
        nanosleep(&pause, NULL);
    return n;
}

static enum serve_progress begin(void *user, struct serve_reply *reply) {
    struct ticket *ticket = user;
    const uint32_t n = ticks_of(ticket);
    reply->status = 200;
    reply->content_type = ticket->streams ? "text/event-stream" : "text/plain";
    if (ticket->streams)
        return n == 0 ? SERVE_WAIT : SERVE_MORE;
    if (n < ticket->n_wanted)
        return SERVE_WAIT;
    char text[16];
    atomic_fetch_add(&n_done, 1);
    rsr_bytes_append(&reply->body, text, (size_t)snprintf(text, sizeof(text), "%u", n));
    return SERVE_DONE;
}

static enum serve_progress more(void *user, struct rsr_bytes *body) {
    struct ticket *ticket = user;
    const uint32_t n = ticks_of(ticket), sent = ticket->n_sent;
    char event[32];
    while (ticket->n_sent < n)
        rsr_bytes_append(body, event,
                         (size_t)snprintf(event, sizeof(event), "data: %u\n\n", ++ticket->n_sent));
    if (n == ticket->n_wanted) {
        atomic_fetch_add(&n_done, 1);
        return SERVE_DONE;
    }
    return n > sent ? SERVE_MORE : SERVE_WAIT;
}

static void abandon(void *user) {
    (void)user;
    atomic_fetch_add(&n_abandoned, 1);
}

static void end(void *user) {
    struct ticket *ticket = user;
    pthread_mutex_lock(&ticket->lock);
    ticket->is_over = true;
    pthread_mutex_unlock(&ticket->lock);
    atomic_fetch_add(&n_ended, 1);
}

static void handle(struct serve_server *server, const struct serve_request *request,
                   struct serve_reply *reply) {
    static const struct serve_later later = {wait, begin, more, abandon, end};
    (void)server;
    if (strcmp(request->path, "/counts") == 0) {
        serve_reply_json(reply, 200,
                         json_pack("{s:I, s:I, s:I, s:I}", "begun", (json_int_t)n_begun, "done",
                                   (json_int_t)n_done, "abandoned", (json_int_t)n_abandoned,
                                   "ended", (json_int_t)n_ended));
        return;
    }
    struct ticket *ticket = calloc(1, sizeof(*ticket));
    if (!ticket)
        exit(1);
    const bool is_endless = strcmp(request->path, "/never") == 0;
    pthread_mutex_init(&ticket->lock, NULL);
    ticket->streams = strcmp(request->path, "/plain") != 0;
    ticket->n_wanted = is_endless ? UINT32_MAX : (uint32_t)strtoul(request->body, NULL, 10);
    ticket->n_until_silence = is_endless ? 1 : ticket->n_wanted;
    reply->later = &later;
    reply->user = ticket;
    atomic_fetch_add(&n_begun, 1);
    pthread_mutex_lock(&tickets.lock);
    ticket->next = tickets.first;
    tickets.first = ticket;
    pthread_mutex_unlock(&tickets.lock);
}

int main(int argc, char **argv) {
    static struct serve_settings settings;
    static struct serve_server server = {.settings = &settings};
    sigset_t signals;
    int number;
    pthread_t thread;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    if (serve_parse_settings(argv + (argc > 0), &settings) != SERVE_START)
        return 1;
    const bool is_loading = strcmp(settings.models[0].name, "loading") == 0;
    struct serve_http *http = serve_http_create(&server, is_loading ? serve_route : handle);
    if (!http || pthread_create(&thread, NULL, make_ticks, NULL) != 0)
        return 1;
    serve_log("ready at %s", serve_http_address(http));
    sigwait(&signals, &number);
    serve_http_destroy(http);
    pthread_mutex_lock(&tickets.lock);
    tickets.is_ending = true;
    pthread_mutex_unlock(&tickets.lock);
    pthread_join(thread, NULL);
    drop_over();
    return n_begun != n_ended || n_done + n_abandoned != n_ended || tickets.first;
}
