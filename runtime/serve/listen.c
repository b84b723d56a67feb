/* listen.c - see listen.h. */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "listen.h"
#include "log.h"

/* Connections that the kernel holds until they are accepted; the kernel limits this to
 * net.core.somaxconn. */
enum { BACKLOG = 4096 };

static int fail(int fd, const char *what, const char *where) {
    serve_log("cannot %s %s: %s", what, where, strerror(errno));
    if (fd >= 0)
        close(fd);
    return -1;
}

/* ---- A path ---------------------------------------------------------------------------------- */

/* Whether nobody listens to the socket any more, because its server was killed. */
static bool is_left_over(const struct sockaddr_un *address) {
    struct stat info;
    if (lstat(address->sun_path, &info) != 0 || !S_ISSOCK(info.st_mode))
        return false;
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const bool refused = fd >= 0 &&
                         connect(fd, (const struct sockaddr *)address, sizeof(*address)) != 0 &&
                         errno == ECONNREFUSED;
    if (fd >= 0)
        close(fd);
    return refused;
}

static int listen_at_path(const char *path, char *text, size_t text_bytes) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(address.sun_path)) {
        serve_log("--unix %s: longer than %zu bytes", path, sizeof(address.sun_path) - 1);
        return -1;
    }
    memcpy(address.sun_path, path, strlen(path));
    if (is_left_over(&address))
        unlink(path);
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof(address)) != 0 ||
        listen(fd, BACKLOG) != 0)
        return fail(fd, "listen at", path);
    snprintf(text, text_bytes, "unix:%s", path);
    return fd;
}

/* ---- A host and a port ----------------------------------------------------------------------- */

static bool is_loopback(const struct sockaddr *address) {
    if (address->sa_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)(const void *)address)->sin_addr.s_addr) >> 24 ==
               127;
    return address->sa_family == AF_INET6 &&
           IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)address)->sin6_addr);
}

/* Reports the real address, because the port in the settings may be 0. */
static void tell_address(int fd, const char *scheme, char *text, size_t text_bytes) {
    struct sockaddr_storage address;
    socklen_t length = sizeof(address);
    char host[64] = "?", port[8] = "?";
    if (getsockname(fd, (struct sockaddr *)&address, &length) == 0)
        getnameinfo((const struct sockaddr *)&address, length, host, sizeof(host), port,
                    sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV);
    const bool brackets = strchr(host, ':') != NULL;
    snprintf(text, text_bytes, "%s://%s%s%s:%s", scheme, brackets ? "[" : "", host,
             brackets ? "]" : "", port);
}

static int listen_at_host(const struct serve_settings *settings, const char *host,
                          const struct addrinfo *found, char *text, size_t text_bytes) {
    char where[300];
    const int on = 1;
    snprintf(where, sizeof(where), "%s port %u", host, settings->port);
    if (!is_loopback(found->ai_addr) && !settings->key_file && !settings->no_auth) {
        serve_log("--host %s can be reached from other machines: give --api-key-file FILE, or "
                  "--no-auth to let everybody in",
                  host);
        return -1;
    }
    const int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        bind(fd, found->ai_addr, found->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0)
        return fail(fd, "listen at", where);
    tell_address(fd, settings->tls_cert ? "https" : "http", text, text_bytes);
    return fd;
}

int serve_listen(const struct serve_settings *settings, char *address, size_t address_bytes) {
    if (settings->unix_path)
        return listen_at_path(settings->unix_path, address, address_bytes);
    const char *host = settings->host ? settings->host : "127.0.0.1";
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *found = NULL;
    char port[8];
    snprintf(port, sizeof(port), "%u", settings->port);
    const int problem = getaddrinfo(host, port, &hints, &found);
    if (problem != 0) {
        serve_log("--host %s: %s", host, gai_strerror(problem));
        return -1;
    }
    const int fd = listen_at_host(settings, host, found, address, address_bytes);
    freeaddrinfo(found);
    return fd;
}

void serve_unlisten(const struct serve_settings *settings, int fd) {
    if (fd < 0)
        return;
    if (settings->unix_path)
        unlink(settings->unix_path);
    close(fd);
}
