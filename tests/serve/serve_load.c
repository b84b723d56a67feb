/* serve_load.c - streams completions from rsr-serve over many connections at once, and reports how
 * long they took. Usage: serve_load HOST:PORT MODEL [NAME=NUMBER ...]
 *   connections=16   open at once, each with one request after the other
 *   requests=64      of all connections
 *   prompt=32        tokens of a prompt, drawn by the request's number below vocab=1000
 *   tokens=32        max_tokens
 *   same=0           1: one prompt for all, which the prefix cache then has
 *   drop=0           per cent of requests that their clients abandon after a token
 *
 * Prints JSON: requests, errors, dropped, tokens, seconds, tokens_per_second, and of time to first
 * token and of the gap between two tokens of a stream the median, the 99th percentile and the
 * largest, in ms. Exit status 1 if a request failed.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct plan {
    struct sockaddr_in address;
    const char *model;
    long connections, requests, prompt, vocab, tokens, same, drop;
};

struct times {
    double *ms;
    size_t n, capacity;
};

struct client {
    int fd;
    char *request;
    size_t request_bytes, sent;
    char tail[16]; /* of what was read before: an event may lie across two reads */
    size_t tail_bytes;
    char head[32]; /* of the reply: the status line */
    size_t head_bytes;
    double begun_ms, last_ms;
    long n_tokens;
    bool drops, is_done; /* [DONE] has come, and only the end of the reply is missing */
};

static struct plan plan = {
    .connections = 16, .requests = 64, .prompt = 32, .vocab = 1000, .tokens = 32};
static struct times first, gaps;
static long n_begun, n_ended, n_errors, n_dropped, n_tokens;

static double now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static void fail(const char *what) {
    fprintf(stderr, "serve_load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void add(struct times *t, double ms) {
    if (t->n == t->capacity) {
        t->capacity = t->capacity ? 2 * t->capacity : 1024;
        t->ms = realloc(t->ms, t->capacity * sizeof(*t->ms));
        if (t->ms == NULL)
            fail("times");
    }
    t->ms[t->n++] = ms;
}

/* ---- A client -------------------------------------------------------------------------------- */

static void write_request(struct client *c, long number) {
    char *body = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&body, &n);
    uint64_t state = plan.same ? 1 : (uint64_t)number * 2654435761u + 1;
    fprintf(f,
            "{\"model\":\"%s\",\"max_tokens\":%ld,\"temperature\":0,\"stream\":true,\"prompt\":[",
            plan.model, plan.tokens);
    for (long i = 0; i < plan.prompt; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        fprintf(f, "%s%lu", i ? "," : "", (unsigned long)(state >> 33) % (unsigned long)plan.vocab);
    }
    fputs("]}", f);
    fclose(f);
    free(c->request);
    const int written =
        asprintf(&c->request,
                 "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: "
                 "application/json\r\nContent-Length: %zu\r\n\r\n%s",
                 n, body);
    if (written < 0)
        fail("request");
    c->request_bytes = (size_t)written;
    free(body);
}

static void watch(int epoll, struct client *c, int operation, uint32_t events) {
    struct epoll_event e = {.events = events, .data.ptr = c};
    if (epoll_ctl(epoll, operation, c->fd, &e) != 0)
        fail("epoll");
}

/* Sends more of the request, as much as there is room for. */
static void send_more(int epoll, struct client *c) {
    while (c->sent < c->request_bytes) {
        const ssize_t n =
            send(c->fd, c->request + c->sent, c->request_bytes - c->sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0)
            fail("send");
        c->sent += (size_t)n;
    }
    watch(epoll, c, EPOLL_CTL_MOD, EPOLLIN);
}

static void connect_to_server(int epoll, struct client *c) {
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    const int one = 1;
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&plan.address, sizeof(plan.address)) != 0)
        fail("connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    watch(epoll, c, EPOLL_CTL_ADD, EPOLLOUT);
}

static void begin_request(int epoll, struct client *c) {
    const long number = n_begun++;
    write_request(c, number);
    c->sent = c->tail_bytes = c->head_bytes = 0;
    c->n_tokens = 0;
    c->is_done = false;
    c->drops = number % 100 < plan.drop;
    c->begun_ms = c->last_ms = now_ms();
    watch(epoll, c, EPOLL_CTL_MOD, EPOLLOUT);
    send_more(epoll, c);
}

/* Begins the next request, on a new connection if `closed`. */
static void go_on(int epoll, struct client *c, bool closed) {
    n_ended++;
    if (closed)
        close(c->fd);
    if (n_begun >= plan.requests) {
        if (!closed)
            close(c->fd);
        c->fd = -1;
        return;
    }
    if (closed)
        connect_to_server(epoll, c);
    begin_request(epoll, c);
}

static size_t count(const char *text, size_t n, const char *event) {
    size_t found = 0;
    const size_t m = strlen(event);
    for (const char *at = text; (at = memmem(at, n - (size_t)(at - text), event, m)) != NULL;
         at += m)
        found++;
    return found;
}

/* Returns whether the reply is finished, successfully or not. */
static bool take(struct client *c, char *bytes, size_t n) {
    const size_t wanted = sizeof(c->head) - 1 - c->head_bytes, more = n < wanted ? n : wanted;
    memcpy(c->head + c->head_bytes, bytes, more);
    c->head_bytes += more;
    static char joined[1 << 16];
    memcpy(joined, c->tail, c->tail_bytes);
    memcpy(joined + c->tail_bytes, bytes, n);
    const size_t all = c->tail_bytes + n;
    const double now = now_ms();
    const long tokens = (long)count(joined, all, "data: {");
    for (long i = 0; i < tokens; i++) {
        add(c->n_tokens + i == 0 ? &first : &gaps, now - c->last_ms);
        c->last_ms = now;
    }
    c->n_tokens += tokens;
    n_tokens += tokens;
    n_errors += (long)count(joined, all, "{\"error\"");
    c->is_done = c->is_done || count(joined, all, "[DONE]") > 0;
    /* Counted patterns are longer than the tail, so none is counted twice. */
    const size_t keep = all < 6 ? all : 6;
    memcpy(c->tail, joined + all - keep, keep);
    c->tail_bytes = keep;
    return c->is_done && all >= 5 && memcmp(joined + all - 5, "0\r\n\r\n", 5) == 0;
}

static void on_event(int epoll, struct client *c) {
    if (c->sent < c->request_bytes) {
        send_more(epoll, c);
        return;
    }
    char bytes[60000];
    const ssize_t n = recv(c->fd, bytes, sizeof(bytes), 0);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0) {
        fprintf(stderr, "serve_load: the server closed a connection after %ld tokens\n",
                c->n_tokens);
        n_errors++;
        go_on(epoll, c, true);
    } else if (take(c, bytes, (size_t)n)) {
        go_on(epoll, c, false);
    } else if (c->head_bytes > 12 && memcmp(c->head, "HTTP/1.1 200", 12) != 0) {
        fprintf(stderr, "serve_load: %.*s\n", (int)n, bytes);
        n_errors++;
        go_on(epoll, c, true);
    } else if (c->drops && c->n_tokens > 0) {
        n_dropped++;
        go_on(epoll, c, true);
    }
}

/* ---- Output ---------------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print_times(const char *name, struct times *t) {
    qsort(t->ms, t->n, sizeof(*t->ms), by_value);
    printf(", \"%s_ms\": {\"median\": %.3f, \"p99\": %.3f, \"max\": %.3f}", name,
           t->n ? t->ms[t->n / 2] : 0, t->n ? t->ms[t->n - 1 - t->n / 100] : 0,
           t->n ? t->ms[t->n - 1] : 0);
}

static bool read_plan(int argc, char **argv) {
    static const struct {
        const char *name;
        long *value;
    } NUMBERS[] = {{"connections", &plan.connections},
                   {"requests", &plan.requests},
                   {"prompt", &plan.prompt},
                   {"vocab", &plan.vocab},
                   {"tokens", &plan.tokens},
                   {"same", &plan.same},
                   {"drop", &plan.drop}};
    char *port = argc > 2 ? strchr(argv[1], ':') : NULL;
    if (port == NULL)
        return false;
    *port++ = '\0';
    plan.address =
        (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    plan.model = argv[2];
    if (inet_pton(AF_INET, argv[1], &plan.address.sin_addr) != 1)
        return false;
    for (int i = 3; i < argc; i++) {
        char *value = strchr(argv[i], '=');
        size_t k = 0;
        if (value == NULL)
            return false;
        *value++ = '\0';
        while (k < sizeof(NUMBERS) / sizeof(NUMBERS[0]) && strcmp(argv[i], NUMBERS[k].name) != 0)
            k++;
        if (k == sizeof(NUMBERS) / sizeof(NUMBERS[0]))
            return false;
        *NUMBERS[k].value = atol(value);
    }
    return plan.connections > 0 && plan.requests > 0 && plan.prompt > 0 && plan.tokens > 0 &&
           plan.vocab > 0;
}

int main(int argc, char **argv) {
    if (!read_plan(argc, argv)) {
        fputs("usage: serve_load HOST:PORT MODEL [NAME=NUMBER ...]\n", stderr);
        return 1;
    }
    const int epoll = epoll_create1(0);
    struct client *clients = calloc((size_t)plan.connections, sizeof(*clients));
    const double begin = now_ms();
    for (long i = 0; i < plan.connections; i++) {
        clients[i].fd = -1;
        if (n_begun == plan.requests)
            continue;
        connect_to_server(epoll, &clients[i]);
        begin_request(epoll, &clients[i]);
    }
    while (n_ended < plan.requests) {
        struct epoll_event events[64];
        const int n = epoll_wait(epoll, events, 64, 120000);
        if (n == 0 || (n < 0 && errno != EINTR))
            fail("nothing came for two minutes");
        for (int i = 0; i < n; i++)
            on_event(epoll, events[i].data.ptr);
    }
    const double seconds = (now_ms() - begin) * 1e-3;
    printf("{\"requests\": %ld, \"errors\": %ld, \"dropped\": %ld, \"tokens\": %ld, \"seconds\": "
           "%.3f, "
           "\"tokens_per_second\": %.1f",
           n_ended, n_errors, n_dropped, n_tokens, seconds, (double)n_tokens / seconds);
    print_times("first_token", &first);
    print_times("gap", &gaps);
    puts("}");
    for (long i = 0; i < plan.connections; i++)
        free(clients[i].request);
    free(clients);
    return n_errors > 0;
}
