/* listen.h - the listening socket. */
#ifndef RSR_SERVE_LISTEN_H
#define RSR_SERVE_LISTEN_H

#include "settings.h"

/* Listens as the settings say and writes the address ("http://127.0.0.1:8080"). -1 after a message;
 * one reason is a host that is not this machine, without keys and without --no-auth. */
int serve_listen(const struct serve_settings *settings, char *address, size_t address_bytes);

/* Closes it; a socket in the file system is removed. */
void serve_unlisten(const struct serve_settings *settings, int fd);

#endif
