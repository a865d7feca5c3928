/* SPDX-License-Identifier: Apache-2.0 */
/*
 * follow.c - tails two files. The length of the log is taken before the events are read: an event
 * is on disk before the log that comes after it, so no heading is ever too late.
 */
#include "follow.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"

#define CHUNK 65536u
#define EVENT_MAX (256u << 10)

struct follow {
	int dirfd, inotify_fd, log_fd, events_fd;
	uint64_t log_at;
	struct logview *view;
	char *part;      /* of an event line */
	size_t part_len;
};

int follow_open(int dirfd, struct logview *view, struct follow **out, struct err *e)
{
	struct follow *f = calloc(1, sizeof(*f));
	char path[64];

	if (!f)
		return err_set(e, "io", "no memory");
	f->dirfd = dirfd;
	f->log_fd = f->events_fd = -1;
	f->view = view;
	f->part = malloc(EVENT_MAX);
	f->inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", dirfd);
	if (!f->part || f->inotify_fd < 0 ||
	    inotify_add_watch(f->inotify_fd, path, IN_MODIFY | IN_CREATE | IN_MOVED_TO) < 0) {
		err_errno(e, "io", "cannot watch the build directory");
		follow_close(f);
		return -1;
	}
	*out = f;
	return 0;
}

void follow_close(struct follow *f)
{
	if (!f)
		return;
	cleanup_fd(&f->inotify_fd);
	cleanup_fd(&f->log_fd);
	cleanup_fd(&f->events_fd);
	free(f->part);
	free(f);
}

int follow_fd(const struct follow *f)
{
	return f->inotify_fd;
}

/* What exactly changed does not matter: everything is looked at again. */
static void drain_inotify(struct follow *f)
{
	char buf[4096];

	while (read(f->inotify_fd, buf, sizeof(buf)) > 0)
		;
}

static void open_late(struct follow *f, const char *name, int *fd)
{
	if (*fd < 0)
		*fd = openat(f->dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
}

static void take_line(struct follow *f)
{
	json_t *event = json_loadb(f->part, f->part_len, 0, NULL);

	if (json_is_object(event))
		logview_event(f->view, event);
	json_decref(event);
	f->part_len = 0;
}

static int read_events(struct follow *f, struct err *e)
{
	char buf[CHUNK];
	ssize_t n;

	open_late(f, "events.jsonl", &f->events_fd);
	if (f->events_fd < 0)
		return 0;
	while ((n = read(f->events_fd, buf, sizeof(buf))) > 0) {
		for (ssize_t i = 0; i < n; i++) {
			if (buf[i] == '\n')
				take_line(f);
			else if (f->part_len < EVENT_MAX)
				f->part[f->part_len++] = buf[i];
		}
	}
	return n < 0 && errno != EINTR ? err_errno(e, "io", "cannot read events.jsonl") : 0;
}

static int read_log(struct follow *f, uint64_t until, struct err *e)
{
	char buf[CHUNK];

	while (f->log_at < until) {
		size_t want = until - f->log_at < CHUNK ? (size_t)(until - f->log_at) : CHUNK;
		ssize_t n = pread(f->log_fd, buf, want, (off_t)f->log_at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_errno(e, "io", "cannot read the log");
		if (n == 0)
			return 0;
		logview_log(f->view, buf, (size_t)n);
		f->log_at += (uint64_t)n;
	}
	return 0;
}

int follow_read(struct follow *f, int *final, struct err *e)
{
	struct stat st;
	uint64_t until = 0;

	drain_inotify(f);
	/* Looked for first: when the verdict is there, everything else is complete. */
	*final = faccessat(f->dirfd, "result.json", F_OK, AT_SYMLINK_NOFOLLOW) == 0;
	open_late(f, "log", &f->log_fd);
	if (f->log_fd >= 0 && fstat(f->log_fd, &st) == 0)
		until = (uint64_t)st.st_size;
	if (read_events(f, e) < 0)
		return -1;
	return read_log(f, until, e);
}
