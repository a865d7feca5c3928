/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watch.c - one inotify descriptor for the whole daemon. Owns the descriptor and the table of
 * who wants what. Must not know what the paths mean. See inotify(7).
 */
#include "watch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#define WATCH_BUCKETS 256

struct entry {
	int id;
	watch_fn fn;
	void *arg;
	struct entry *next;
};

struct watch {
	int fd;
	uv_poll_t poll;
	struct entry *table[WATCH_BUCKETS];
};

static struct entry **slot_of(struct watch *w, int id)
{
	struct entry **p = &w->table[(unsigned)id % WATCH_BUCKETS];

	while (*p && (*p)->id != id)
		p = &(*p)->next;
	return p;
}

/* The queue ran over: everybody looks again. Each callback may remove any entry. */
static void tell_all(struct watch *w)
{
	for (unsigned b = 0; b < WATCH_BUCKETS; b++) {
		int ids[64];
		size_t n = 0;

		for (struct entry *x = w->table[b]; x && n < 64; x = x->next)
			ids[n++] = x->id;
		for (size_t i = 0; i < n; i++) {
			struct entry *x = *slot_of(w, ids[i]);

			if (x)
				x->fn(x->arg, IN_Q_OVERFLOW, "");
		}
	}
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
	struct watch *w = poll->data;
	char buf[16384] __attribute__((aligned(__alignof__(struct inotify_event))));
	ssize_t n;

	(void)status;
	(void)events;
	n = read(w->fd, buf, sizeof(buf));
	for (char *p = buf; n > 0 && p < buf + n;) {
		struct inotify_event *ev = (struct inotify_event *)p;
		struct entry *x;

		p += sizeof(*ev) + ev->len;
		if (ev->mask & IN_Q_OVERFLOW) {
			tell_all(w);
			continue;
		}
		x = *slot_of(w, ev->wd);
		if (x && !(ev->mask & IN_IGNORED))
			x->fn(x->arg, ev->mask, ev->len ? ev->name : "");
	}
}

int watch_open(uv_loop_t *loop, struct watch **out, struct err *e)
{
	struct watch *w = calloc(1, sizeof(*w));

	if (!w)
		return err_set(e, "io", "no memory");
	w->fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (w->fd < 0) {
		free(w);
		return err_errno(e, "io", "cannot use inotify (fs.inotify.max_user_instances?)");
	}
	uv_poll_init(loop, &w->poll, w->fd);
	w->poll.data = w;
	uv_poll_start(&w->poll, UV_READABLE, on_readable);
	*out = w;
	return 0;
}

static void on_closed(uv_handle_t *h)
{
	free(h->data);
}

void watch_close(struct watch *w)
{
	if (!w)
		return;
	for (unsigned b = 0; b < WATCH_BUCKETS; b++) {
		while (w->table[b]) {
			struct entry *x = w->table[b];

			w->table[b] = x->next;
			free(x);
		}
	}
	uv_poll_stop(&w->poll);
	close(w->fd);
	uv_close((uv_handle_t *)&w->poll, on_closed);
}

int watch_add(struct watch *w, const char *path, uint32_t mask, watch_fn fn, void *arg, int *id,
	      struct err *e)
{
	struct entry *x = calloc(1, sizeof(*x));

	if (!x)
		return err_set(e, "io", "no memory");
	x->id = inotify_add_watch(w->fd, path, mask | IN_DONT_FOLLOW | IN_EXCL_UNLINK);
	if (x->id < 0) {
		free(x);
		return err_errno(e, "io", "cannot watch %s", path);
	}
	/* The kernel gives one id for one file: a second watcher would silence the first. */
	if (*slot_of(w, x->id)) {
		free(x);
		return err_set(e, "io", "%s is watched already", path);
	}
	x->fn = fn;
	x->arg = arg;
	x->next = w->table[(unsigned)x->id % WATCH_BUCKETS];
	w->table[(unsigned)x->id % WATCH_BUCKETS] = x;
	*id = x->id;
	return 0;
}

void watch_remove(struct watch *w, int id)
{
	struct entry **p, *x;

	if (id < 0)
		return;
	p = slot_of(w, id);
	x = *p;
	if (!x)
		return;
	*p = x->next;
	free(x);
	inotify_rm_watch(w->fd, id);
}
