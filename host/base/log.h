/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.h - one line on standard error: time, level, id, words. Used at the edges only
 * (mains, the HTTP edge, the scheduler); everything below returns struct err.
 */
#ifndef KILN_LOG_H
#define KILN_LOG_H

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* Lines above this level are dropped. Default LOG_LEVEL_INFO. */
void log_set_level(enum log_level level);

/* "error", "warn", "info" or "debug" to a level. Returns 0, or -1 for another word. */
int log_level_parse(const char *word, enum log_level *out);

/* id: the build id, or NULL. errno is kept. Control bytes in the text become '?'. */
void log_line(enum log_level level, const char *id, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#endif
