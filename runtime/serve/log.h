/* log.h - lines on standard error. A line that cannot be written, for example on a full disk, is
 * lost without further effect. */
#ifndef RSR_SERVE_LOG_H
#define RSR_SERVE_LOG_H

/* "rsr-serve: <sentence>" and a line end, control characters made visible. Any thread. Returns
 * false, so that failures end with it. */
_Bool serve_log(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* From now on lines begin with "rsr-serve: rank N: ". Called before other threads log. */
void serve_log_rank(unsigned rank);

#endif
