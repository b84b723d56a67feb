/* log.h - lines on standard error. One that cannot be written, as on a full disk, is lost, and that
 * is all. */
#ifndef RSR_SERVE_LOG_H
#define RSR_SERVE_LOG_H

/* "rsr-serve: <sentence>" and a line end, control characters made visible. Any thread. Returns
 * false, so that failures end with it. */
_Bool serve_log(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
