/* access.h - who may send requests: keys, the Host header, and the origins of web pages. */
#ifndef RSR_SERVE_ACCESS_H
#define RSR_SERVE_ACCESS_H

#include "settings.h"

struct serve_access;
/* Reads the file of keys. NULL after a sentence. */
struct serve_access *serve_access_create(const struct serve_settings *settings);
void serve_access_destroy(struct serve_access *access); /* may be NULL */

bool serve_access_needs_key(const struct serve_access *access);
/* Whether an Authorization header, which may be NULL, has one of the keys. The time reveals nothing
 * about the keys but their lengths. */
bool serve_access_has_key(const struct serve_access *access, const char *authorization);

/* Whether a Host header, which may be NULL, names this server: an address, localhost, or a name
 * that the server knows as its own. A page of another site whose name was made to point here (DNS
 * rebinding) sends the site's name, and is refused. */
bool serve_access_knows_host(const struct serve_access *access, const char *host);

/* Whether pages of this origin, which may be NULL, may send requests (--cors). */
bool serve_access_knows_origin(const struct serve_access *access, const char *origin);

#endif
