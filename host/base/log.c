/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.c - writes log lines to standard error, one write() a line so that processes which
 * share it do not mix theirs. Owns the level, nothing else.
 */
#include "log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *const words[] = { "error", "warn", "info", "debug" };
static enum log_level max_level = LOG_LEVEL_INFO;

void log_set_level(enum log_level level)
{
	max_level = level;
}

int log_level_parse(const char *word, enum log_level *out)
{
	for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (strcmp(word, words[i]) == 0) {
			*out = (enum log_level)i;
			return 0;
		}
	}
	return -1;
}

void log_line(enum log_level level, const char *id, const char *fmt, ...)
{
	char line[2048];
	struct timespec now;
	struct tm tm;
	int saved = errno;
	size_t head, n;
	va_list ap;

	if (level > max_level)
		return;
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	head = strftime(line, sizeof(line), "%Y-%m-%dT%H:%M:%S", &tm);
	head += (size_t)snprintf(line + head, sizeof(line) - head, ".%03ldZ %-5s %s%.80s%s",
				 now.tv_nsec / 1000000, words[level], id ? "build=" : "",
				 id ? id : "", id ? " " : "");
	va_start(ap, fmt);
	vsnprintf(line + head, sizeof(line) - head - 1, fmt, ap);
	va_end(ap);
	n = strlen(line);
	for (size_t i = head; i < n; i++)
		if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
			line[i] = '?';
	line[n++] = '\n';
	if (write(STDERR_FILENO, line, n) < 0) {
		/* nowhere left to say it */
	}
	errno = saved;
}
