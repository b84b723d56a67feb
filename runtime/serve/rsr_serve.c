/* rsr_serve.c - rsr-serve: starts and ends the parts that serve.h lists.
 *
 * It listens first, so that clients learn that models are being loaded. SIGTERM and SIGINT drain
 * it: it accepts no more connections and answers accepted requests for up to --drain seconds. A
 * second signal ends it at once. With --mpi this is about rank 0: the others take no signals, and
 * end when it ends. Exit status: 0 after a drain, 1 after a mistake or failure (with a
 * message), otherwise 128 + the signal's number.
 */
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "embedder.h"
#include "http.h"
#include "job.h"
#include "log.h"
#include "metrics.h"
#include "models.h"
#include "routes.h"
#include "serve_ranks.h"
#include "settings.h"

/* What the thread that waits for signals shares with the main one. */
struct ending {
    struct serve_server *server;
    sigset_t signals;
    sem_t asked;
};

/* A second signal, or any signal while models are being loaded, ends the process at once. */
static void *wait_for_signals(void *user) {
    struct ending *ending = user;
    const struct serve_settings *settings = ending->server->settings;
    for (;;) {
        int number = 0;
        enum serve_state ready = SERVE_READY;
        if (sigwait(&ending->signals, &number) != 0)
            continue;
        if (atomic_compare_exchange_strong(&ending->server->state, &ready, SERVE_DRAINING)) {
            sem_post(&ending->asked);
            continue;
        }
        if (settings->unix_path)
            unlink(settings->unix_path);
        _exit(128 + number);
    }
    return NULL;
}

/* All threads inherit the mask, so only one thread takes these signals. */
static void block_signals(struct ending *ending) {
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    sem_init(&ending->asked, 0, 0);
    sigemptyset(&ending->signals);
    sigaddset(&ending->signals, SIGTERM);
    sigaddset(&ending->signals, SIGINT);
    if (ending->server->settings->mpi) /* mpirun passes it on; on SIGTERM it ends all */
        sigaddset(&ending->signals, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &ending->signals, NULL);
}

static bool catch_signals(struct ending *ending) {
    pthread_t thread;
    return (pthread_create(&thread, NULL, wait_for_signals, ending) == 0 &&
            pthread_detach(thread) == 0) ||
           serve_log("cannot start a thread");
}

static bool start(struct serve_server *server) {
    bool embeds = false;
    if (!serve_open_models(server))
        return false;
    for (uint32_t i = 0; i < server->n_models; i++)
        embeds |= server->models[i].pooling != NULL;
    server->scheduler = serve_scheduler_create(server);
    server->embedder = embeds ? serve_embedder_create(server) : NULL;
    if (!server->scheduler || (embeds && !server->embedder))
        return serve_log("out of memory");
    return true;
}

static bool is_idle(const struct serve_server *server, const struct serve_http *http) {
    return serve_http_requests(http) == 0 && serve_scheduler_load(server->scheduler).is_idle &&
           (!server->embedder || serve_embedder_load(server->embedder) == 0);
}

/* Waits until accepted requests are answered, or the time is up. */
static void drain(struct serve_server *server, struct serve_http *http) {
    const struct timespec pause = {.tv_nsec = 10 * 1000 * 1000};
    const int64_t until = serve_now_ns() + (int64_t)server->settings->drain_s * 1000000000;
    serve_http_close(http);
    serve_scheduler_close(server->scheduler);
    if (server->embedder)
        serve_embedder_close(server->embedder);
    serve_log("draining: %u requests go on for at most %u s", serve_http_requests(http),
              server->settings->drain_s);
    while (!is_idle(server, http) && serve_now_ns() < until)
        nanosleep(&pause, NULL);
    serve_log("end; %u requests were cut off", serve_http_requests(http));
}

static int serve(struct serve_server *server, struct ending *ending) {
    struct serve_http *http = serve_http_create(server, serve_route);
    const bool ok = http && start(server);
    if (ok) {
        atomic_store(&server->state, SERVE_READY);
        serve_log("ready at %s", serve_http_address(http));
        while (sem_wait(&ending->asked) != 0)
            continue;
        drain(server, http);
    }
    serve_http_destroy(http);
    if (!ok)
        serve_ranks_abort(server->ranks);
    serve_embedder_destroy(server->embedder);
    serve_scheduler_destroy(server->scheduler);
    serve_close_models(server);
    return ok ? 0 : 1;
}

/* A rank other than rank 0. */
static int follow(struct serve_server *server) {
    if (serve_open_models(server))
        serve_ranks_follow(server);
    else
        serve_ranks_abort(server->ranks);
    serve_close_models(server);
    return 0;
}

static int run(struct serve_server *server, struct ending *ending) {
    int status = 1;
    block_signals(ending);
    if (server->settings->mpi && (server->ranks = serve_ranks_begin()) == NULL)
        return status;
    if (serve_ranks_follows(server->ranks))
        status = follow(server);
    else if (catch_signals(ending))
        status = serve(server, ending);
    else
        serve_ranks_abort(server->ranks);
    serve_ranks_end(server->ranks);
    return status;
}

int main(int argc, char **argv) {
    static struct serve_settings settings;
    static struct serve_server server;
    static struct ending ending;
    const enum serve_parsed parsed = serve_parse_settings(argv + (argc > 0), &settings);
    if (parsed != SERVE_START)
        return parsed == SERVE_EXIT_OK ? 0 : 1;
    server.settings = &settings;
    server.started = (int64_t)time(NULL);
    server.metrics = serve_metrics_create();
    ending.server = &server;
    if (!server.metrics) {
        serve_log("out of memory");
        return 1;
    }
    const int status = run(&server, &ending);
    serve_metrics_destroy(server.metrics);
    return status;
}
