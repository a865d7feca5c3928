/* SPDX-License-Identifier: Apache-2.0 */
/*
 * logfile.c - writes the file `log` of the build directory.
 *
 * Owns the queue of views, the host lines that wait, and the counts. Does not own the
 * descriptor and never looks into guest bytes but for newlines, and for those only while a
 * host line waits: the fast path touches one byte a chunk.
 */
#include "logfile.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MIB (1024u * 1024u)

void logfile_init(struct logfile *log, int fd, uint64_t limit_bytes)
{
	memset(log, 0, sizeof(*log));
	log->fd = fd;
	log->limit_bytes = limit_bytes;
}

/* Step over put bytes of the vector. Returns how many elements are used up. */
static unsigned advance(struct iovec *v, unsigned count, size_t put)
{
	unsigned i = 0;

	while (i < count && put >= v[i].iov_len)
		put -= v[i++].iov_len;
	if (i < count) {
		v[i].iov_base = (char *)v[i].iov_base + put;
		v[i].iov_len -= put;
	}
	return i;
}

int logfile_flush(struct logfile *log, struct err *e)
{
	struct iovec *v = log->iov;
	unsigned left = log->iovs;

	log->iovs = 0;
	while (left > 0) {
		ssize_t put = writev(log->fd, v, (int)left);
		unsigned used;

		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return err_errno(e, "io", "cannot write the log of the build");
		used = advance(v, left, (size_t)put);
		v += used;
		left -= used;
	}
	return 0;
}

static int queue(struct logfile *log, const void *p, size_t n, struct err *e)
{
	if (n == 0)
		return 0;
	if (log->iovs == LOGFILE_IOV && logfile_flush(log, e) < 0)
		return -1;
	log->iov[log->iovs].iov_base = (void *)(uintptr_t)p;
	log->iov[log->iovs++].iov_len = n;
	log->size_bytes += n;
	log->mid_line = ((const char *)p)[n - 1] != '\n';
	return 0;
}

/* The host lines are written here and now, as their buffer is used again. */
static int put_pending(struct logfile *log, struct err *e)
{
	size_t n = log->pending_bytes;

	if (n == 0)
		return 0;
	log->pending_bytes = 0;
	if (queue(log, log->pending, n, e) < 0)
		return -1;
	return logfile_flush(log, e);
}

int logfile_settle(struct logfile *log, struct err *e)
{
	if (log->pending_bytes == 0)
		return 0;
	if (log->mid_line && queue(log, "\n", 1, e) < 0)
		return -1;
	return put_pending(log, e);
}

int logfile_host_line(struct logfile *log, const char *text, struct err *e)
{
	char line[LOGFILE_LINE_BYTES];
	int n = snprintf(line, sizeof(line) - 1, "kiln: %s", text);
	size_t len = n < (int)sizeof(line) - 1 ? (size_t)n : sizeof(line) - 2;

	for (size_t i = 0; i < len; i++)
		if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
			line[i] = '?';
	line[len++] = '\n';
	if (len > sizeof(log->pending) - log->pending_bytes)
		return 0;
	memcpy(log->pending + log->pending_bytes, line, len);
	log->pending_bytes += len;
	return log->mid_line ? 0 : put_pending(log, e);
}

static int say_full(struct logfile *log, struct err *e)
{
	char text[128];

	log->full = 1;
	if (log->limit_bytes % MIB == 0)
		snprintf(text, sizeof(text), "the log limit of %" PRIu64 " MiB is reached; "
			 "what follows is not kept", log->limit_bytes / MIB);
	else
		snprintf(text, sizeof(text), "the log limit of %" PRIu64 " bytes is reached; "
			 "what follows is not kept", log->limit_bytes);
	if (logfile_host_line(log, text, e) < 0)
		return -1;
	return logfile_settle(log, e);
}

int logfile_append(struct logfile *log, const uint8_t *p, size_t n, struct err *e)
{
	size_t keep = n;

	log->guest_bytes += n;
	if (log->full)
		return 0;
	if (log->limit_bytes && log->limit_bytes - log->kept_bytes < n)
		keep = (size_t)(log->limit_bytes - log->kept_bytes);
	log->kept_bytes += keep;
	if (log->pending_bytes) {
		const uint8_t *nl = memchr(p, '\n', keep);
		size_t head = nl ? (size_t)(nl - p) + 1 : 0;

		if (nl && (queue(log, p, head, e) < 0 || put_pending(log, e) < 0))
			return -1;
		if (queue(log, p + head, keep - head, e) < 0)
			return -1;
	} else if (queue(log, p, keep, e) < 0) {
		return -1;
	}
	return keep < n ? say_full(log, e) : 0;
}

int logfile_sync(struct logfile *log, struct err *e)
{
	if (logfile_flush(log, e) < 0)
		return -1;
	if (fdatasync(log->fd) < 0 && errno != EINVAL)
		return err_errno(e, "io", "cannot sync the log of the build");
	return 0;
}
