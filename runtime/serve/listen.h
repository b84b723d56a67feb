/* listen.h - the socket that connections come to. */
#ifndef RSR_SERVE_LISTEN_H
#define RSR_SERVE_LISTEN_H

#include "settings.h"

/* Listens where the settings say, and tells the address ("http://127.0.0.1:8080"). -1 after a
 * sentence: also for a host beyond this machine, if neither keys nor --no-auth are given. */
int serve_listen(const struct serve_settings *settings, char *address, size_t address_bytes);

/* Closes it; a socket in the file system is removed. */
void serve_unlisten(const struct serve_settings *settings, int fd);

#endif
