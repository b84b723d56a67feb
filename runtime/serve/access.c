/* access.c - see access.h. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "access.h"
#include "log.h"

enum { MAX_KEYS = 1024 };

struct serve_access {
    const struct serve_settings *settings;
    char machine[256]; /* the name of this machine */
    char **keys;
    size_t n_keys;
};

/* ---- Keys ------------------------------------------------------------------------------------ */

/* Adds the key on a line, without white space around it. Lines that begin with # are comments. */
static bool add_key(struct serve_access *access, char *line) {
    line += strspn(line, " \t\r\n");
    size_t n = strlen(line);
    while (n > 0 && strchr(" \t\r\n", line[n - 1]))
        line[--n] = '\0';
    if (n == 0 || line[0] == '#')
        return true;
    const char *file = access->settings->key_file;
    if (access->n_keys == MAX_KEYS)
        return serve_log("%s has more than %d keys", file, MAX_KEYS);
    char *key = strdup(line);
    if (!key)
        return serve_log("out of memory");
    access->keys[access->n_keys++] = key;
    return true;
}

static bool read_keys(struct serve_access *access) {
    const char *path = access->settings->key_file;
    FILE *file = fopen(path, "re");
    char *line = NULL;
    size_t capacity = 0;
    access->keys = calloc(MAX_KEYS, sizeof(*access->keys));
    bool ok = file && access->keys;
    errno = file ? ENOMEM : errno;
    if (!ok)
        serve_log("cannot read %s: %s", path, strerror(errno));
    errno = 0;
    while (ok && getline(&line, &capacity, file) >= 0)
        ok = add_key(access, line);
    if (ok && ferror(file))
        ok = serve_log("cannot read %s: %s", path, strerror(errno));
    if (ok && access->n_keys == 0)
        ok = serve_log("%s has no key", path);
    free(line);
    if (file)
        fclose(file);
    return ok;
}

bool serve_access_needs_key(const struct serve_access *access) {
    return access->settings->key_file != NULL;
}

/* Compares all bytes, so the time does not depend on the first difference. */
static bool is_same(const char *key, const char *given, size_t n) {
    unsigned difference = strlen(key) != n;
    for (size_t i = 0; key[i] != '\0'; i++)
        difference |= (unsigned char)key[i] ^ (unsigned char)(n > 0 ? given[i % n] : 0);
    return difference == 0;
}

bool serve_access_has_key(const struct serve_access *access, const char *authorization) {
    static const char scheme[] = "Bearer ";
    if (!serve_access_needs_key(access))
        return true;
    if (!authorization || strncasecmp(authorization, scheme, sizeof(scheme) - 1) != 0)
        return false;
    const char *given = authorization + sizeof(scheme) - 1;
    bool found = false;
    for (size_t i = 0; i < access->n_keys; i++)
        found |= is_same(access->keys[i], given, strlen(given));
    return found;
}

/* ---- Hosts ----------------------------------------------------------------------------------- */

static bool is_address(const char *name) {
    unsigned char bytes[sizeof(struct in6_addr)];
    return inet_pton(AF_INET, name, bytes) == 1 || inet_pton(AF_INET6, name, bytes) == 1;
}

/* Whether `name` is one of the names, which are separated by commas. */
static bool lists(const char *names, const char *name) {
    const size_t length = strlen(name);
    while (names && *names) {
        const size_t n = strcspn(names, ",");
        if (n == length && strncasecmp(names, name, n) == 0)
            return true;
        names += n + (names[n] == ',');
    }
    return false;
}

bool serve_access_knows_host(const struct serve_access *access, const char *host) {
    char name[256];
    const struct serve_settings *settings = access->settings;
    if (!host || settings->unix_path) /* web pages cannot reach such a socket */
        return true;
    const bool in_brackets = host[0] == '[';
    const size_t n = strcspn(host += in_brackets, in_brackets ? "]" : ":");
    if (n == 0 || n >= sizeof(name))
        return false;
    memcpy(name, host, n);
    name[n] = '\0';
    return is_address(name) || strcasecmp(name, "localhost") == 0 ||
           strcasecmp(name, access->machine) == 0 || lists(settings->host, name) ||
           lists(settings->hosts, name);
}

bool serve_access_knows_origin(const struct serve_access *access, const char *origin) {
    const char *cors = access->settings->cors;
    return origin && cors && (strcmp(cors, "*") == 0 || strcmp(cors, origin) == 0);
}

/* ---- Both ------------------------------------------------------------------------------------ */

struct serve_access *serve_access_create(const struct serve_settings *settings) {
    struct serve_access *access = calloc(1, sizeof(*access));
    if (!access) {
        serve_log("out of memory");
        return NULL;
    }
    access->settings = settings;
    if (gethostname(access->machine, sizeof(access->machine) - 1) != 0)
        access->machine[0] = '\0';
    if (settings->key_file && !read_keys(access)) {
        serve_access_destroy(access);
        return NULL;
    }
    return access;
}

void serve_access_destroy(struct serve_access *access) {
    if (!access)
        return;
    for (size_t i = 0; i < access->n_keys; i++)
        free(access->keys[i]);
    free(access->keys);
    free(access);
}
