/* SPDX-License-Identifier: Apache-2.0 */
/*
 * output.c - the pipe of the steps. Owns its two ends; copies each byte once, from the pipe
 * into the journal's ring, where it is sent from.
 *
 * Programs that print line by line wake the agent for each of them. After a small read the
 * loop therefore leaves the pipe alone for OUTPUT_HOLD_MS: the first line goes out at once,
 * those that follow go out together.
 */
#include "output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "loop.h"
#include "text.h"

int output_init(struct output *o, int epoll_fd, struct fail *f)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLET, .data.u64 = LOOP_KEY_OUTPUT };
	int ends[2];

	memset(o, 0, sizeof(*o));
	o->read_fd = o->write_fd = -1;
	if (pipe2(ends, O_CLOEXEC) < 0)
		return fail_errno(f, WIRE_CLASS_AGENT, "cannot make the pipe of the log");
	o->read_fd = ends[0];
	o->write_fd = ends[1];
	fcntl(o->read_fd, F_SETPIPE_SZ, OUTPUT_PIPE_BYTES); /* smaller only makes it slower */
	if (fcntl(o->read_fd, F_SETFL, O_NONBLOCK) < 0 ||
	    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, o->read_fd, &ev) < 0)
		return fail_errno(f, WIRE_CLASS_AGENT, "cannot watch the pipe of the log");
	return 0;
}

void output_give(struct output *o, uid_t uid, gid_t gid)
{
	if (fchown(o->write_fd, uid, gid) < 0) /* steps still write to what they inherit */
		errno = 0;
}

int output_writer(const struct output *o, int proc_fd)
{
	char path[32];
	int fd;

	snprintf(path, sizeof(path), "self/fd/%d", o->write_fd);
	fd = openat(proc_fd, path, O_WRONLY | O_CLOEXEC);
	return fd >= 0 ? fd : fcntl(o->write_fd, F_DUPFD_CLOEXEC, 3);
}

size_t output_pending(const struct output *o)
{
	int n = 0;

	return ioctl(o->read_fd, FIONREAD, &n) == 0 && n > 0 ? (size_t)n : 0;
}

size_t output_read(struct output *o, struct journal *j, size_t frame_max, size_t limit,
		   uint64_t now_ms)
{
	size_t cap;
	uint8_t *to = journal_log_reserve(j, frame_max, &cap);
	ssize_t n;

	if (!cap)
		return 0;
	n = read(o->read_fd, to, cap < limit ? cap : limit);
	if (n <= 0) {
		o->readable = 0;
		return 0;
	}
	o->mid_line = to[n - 1] != '\n';
	o->hold_until_ms = (size_t)n < OUTPUT_SMALL_BYTES ? now_ms + OUTPUT_HOLD_MS : 0;
	journal_log_commit(j, (size_t)n);
	return (size_t)n;
}

static void put_text(struct output *o, struct journal *j, const char *text, size_t n)
{
	struct wire_msg msg = { .type = WIRE_LOG };

	msg.u.log.data.p = (const uint8_t *)text;
	msg.u.log.data.n = (uint32_t)n;
	if (n && journal_put(j, &msg) == 0)
		o->mid_line = text[n - 1] != '\n';
}

void output_line(struct output *o, struct journal *j, const char *text)
{
	char line[FAIL_TEXT_BYTES + 64];
	size_t at = 0, n;

	if (o->mid_line)
		line[at++] = '\n';
	n = text_copy(line + at, sizeof(line) - at - 1, text, strlen(text));
	line[at + n] = '\n';
	put_text(o, j, line, at + n + 1);
}

void output_say(struct output *o, struct journal *j, const char *fmt, ...)
{
	char text[FAIL_TEXT_BYTES + 16] = "kiln: ";
	size_t at = strlen(text);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text + at, sizeof(text) - at, fmt, ap);
	va_end(ap);
	output_line(o, j, text);
}
