/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run.c - one living supervisor each: what its directory tells, its end, its control socket.
 * Owns struct run: descriptors and watches of a build directory. The build itself is looked up
 * by id whenever something happens. How a supervisor is started or adopted: run_start.c.
 */
#include "run_private.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "builddir.h"
#include "cleanup.h"
#include "fileio.h"
#include "follow.h"
#include "log.h"
#include "talk.h"
#include "watch.h"

#define RESULT_MAX (1u << 20)
#define CTL_TIMEOUT_MS 5000
#define DIR_MASK (IN_CREATE | IN_MOVED_TO | IN_CLOSE_WRITE)

struct runs *runs_new(struct kilnd *k)
{
	struct runs *rs = calloc(1, sizeof(*rs));

	if (rs)
		rs->k = k;
	return rs;
}

void runs_free(struct runs *rs)
{
	if (!rs)
		return;
	while (rs->head)
		run_free(rs->head);
	free(rs);
}

struct run *run_find(struct runs *rs, const char *id)
{
	struct run *r = rs->head;

	while (r && strcmp(r->id, id) != 0)
		r = r->next;
	return r;
}

void run_free(struct run *r)
{
	struct runs *rs = r->rs;
	struct run **p = &rs->head;

	while (*p && *p != r)
		p = &(*p)->next;
	if (*p)
		*p = r->next;
	child_forget(r->child);
	talk_drop(r->start);
	talk_drop(r->ctl);
	watch_remove(rs->k->watch, r->dir_watch);
	watch_remove(rs->k->watch, r->events_watch);
	events_fini(&r->events);
	cleanup_fd(&r->events_fd);
	cleanup_fd(&r->dirfd);
	free(r);
}

static void on_state(void *arg, enum build_state s, uint64_t at_ms)
{
	struct run *r = arg;
	struct build *b = builds_find(r->rs->k->builds, r->id);

	if (b && s != STATE_STARTING_VM)
		builds_set_state(r->rs->k->builds, b, s, at_ms, NULL);
}

void run_read_events(struct run *r)
{
	struct build *b = builds_find(r->rs->k->builds, r->id);
	char buf[16384];
	ssize_t n;

	while (r->events_fd >= 0 && (n = read(r->events_fd, buf, sizeof(buf))) > 0)
		events_feed(&r->events, buf, (size_t)n);
	if (b && !b->facts)
		b->facts = json_incref(r->events.facts);
	/* ctl shows up a moment before it listens: what comes next is the time to try again. */
	if (b && b->cancel_asked && !r->cancel_told)
		run_send_cancel(r);
}

static void on_events(void *arg, uint32_t mask, const char *name)
{
	(void)mask;
	(void)name;
	run_read_events(arg);
}

/* The file may come after the directory; what was written before the watch is read at once. */
static void find_events(struct run *r)
{
	char path[PATH_MAX + 64];
	struct err e = { 0 };
	off_t size;

	if (r->events_fd >= 0 || builddir_open_file(r->dirfd, "events.jsonl", &r->events_fd, &size, NULL) < 0)
		return;
	snprintf(path, sizeof(path), "%s/%s/events.jsonl", r->rs->k->builds_dir, r->id);
	if (watch_add(r->rs->k->watch, path, IN_MODIFY, on_events, r, &r->events_watch, &e) < 0)
		log_line(LOG_LEVEL_WARN, r->id, "%s", e.text);
	run_read_events(r);
}

static int read_json(struct run *r, const char *name, json_t **out, struct err *e)
{
	_cleanup_free_ char *text = NULL;
	size_t n;

	if (fileio_read(r->dirfd, name, RESULT_MAX, &text, &n, e) < 0)
		return -1;
	*out = json_loadb(text, n, 0, NULL);
	if (!json_is_object(*out)) {
		json_decref(*out);
		return err_set(e, "io", "%s is not readable", name);
	}
	return 0;
}

int run_read_run_json(struct run *r, json_t **out, struct err *e)
{
	return read_json(r, "run.json", out, e);
}

int run_take_result(struct run *r)
{
	struct kilnd *k = r->rs->k;
	struct build *b = builds_find(k->builds, r->id);
	struct err e = { 0 };
	json_t *v = NULL;

	if (read_json(r, "result.json", &v, &e) < 0 && strcmp(e.code, "not_found") == 0)
		return -1;
	if (b && !state_final(b->state)) {
		find_events(r);
		run_read_events(r);
		if (v && json_is_string(json_object_get(v, "class")))
			builds_finish(k->builds, b, v);
		else
			builds_finish_with(k->builds, b, "host", e.code ? e.text : "result.json has no class");
	}
	json_decref(v);
	return 0;
}

void run_lost(struct run *r, const char *how)
{
	struct kilnd *k = r->rs->k;
	struct build *b = builds_find(k->builds, r->id);
	struct err e = { 0 };
	char words[128];

	if (run_take_result(r) < 0 && b && !state_final(b->state)) {
		find_events(r);
		run_read_events(r);
		snprintf(words, sizeof(words), "the supervisor ended without a verdict: %s", how);
		builds_finish_with(k->builds, b, "host", words);
		/* Scratch disk and sockets: their owner can't remove them any more. */
		if (fileio_remove_tree(r->dirfd, "vm", &e) < 0)
			log_line(LOG_LEVEL_WARN, r->id, "%s", e.text);
	}
}

void run_on_end(void *arg, const char *how)
{
	struct run *r = arg;

	r->child = NULL;
	r->ended = 1;
	/* The answer to the start, if it is still to come, says more than the exit status. */
	if (r->start)
		return;
	run_lost(r, how);
	run_free(r);
}

/* ---- the control socket ---- */

static void on_ctl_answer(void *arg, const char *line, const struct err *e)
{
	struct run *r = arg;

	r->ctl = NULL;
	r->cancel_told = line && strcmp(line, "ok") == 0;
	if (!line)
		log_line(LOG_LEVEL_WARN, r->id, "cancel: %s", e->text);
	else if (!r->cancel_told)
		log_line(LOG_LEVEL_WARN, r->id, "cancel: the supervisor says: %s", line);
}

/* /proc/self/fd keeps the path short: sun_path has 108 bytes only (unix(7)). */
static int ctl_connect(struct run *r)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	_cleanup_fd_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	snprintf(a.sun_path, sizeof(a.sun_path), "/proc/self/fd/%d/ctl", r->dirfd);
	if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		return -1;
	return take_fd(&fd);
}

void run_send_cancel(struct run *r)
{
	static const char line[] = "{\"cmd\":\"cancel\",\"reason\":\"user\"}\n";
	char *bytes;
	int fd;

	if (r->ctl || r->start || (fd = ctl_connect(r)) < 0)
		return; /* ctl is watched for: see on_dir */
	bytes = strdup(line);
	if (!bytes) {
		close(fd);
		return;
	}
	talk_start(r->rs->k->loop, fd, bytes, sizeof(line) - 1, CTL_TIMEOUT_MS, on_ctl_answer, r, &r->ctl,
		   NULL);
}

void run_cancel(struct runs *rs, struct build *b)
{
	struct run *r = run_find(rs, b->id);

	if (r)
		run_send_cancel(r);
}

/* ---- the directory ---- */

static void on_dir(void *arg, uint32_t mask, const char *name)
{
	struct run *r = arg;
	struct kilnd *k = r->rs->k;
	struct build *b = builds_find(k->builds, r->id);
	int all = (mask & IN_Q_OVERFLOW) != 0;

	if (all || strcmp(name, "events.jsonl") == 0)
		find_events(r);
	if (all)
		run_read_events(r);
	if (all || (strcmp(name, "log") == 0 && mask & IN_CREATE))
		follow_wake(k->follows, r->id);
	if ((all || strcmp(name, "ctl") == 0) && b && b->cancel_asked)
		run_send_cancel(r);
	if ((all || strcmp(name, "run.json") == 0) && r->adopting)
		run_adopt_again(r);
	else if (strcmp(name, "lock") == 0 && mask & IN_CLOSE_WRITE && r->adopting)
		run_adopt_again(r);
	else if (all || (strcmp(name, "result.json") == 0 && mask & IN_MOVED_TO))
		run_take_result(r);
}

int run_new(struct runs *rs, const char *id, struct run **out, struct err *e)
{
	struct run *r = calloc(1, sizeof(*r));
	char path[PATH_MAX + 64];

	if (!r)
		return err_set(e, "io", "no memory");
	r->rs = rs;
	snprintf(r->id, sizeof(r->id), "%s", id);
	r->dirfd = r->events_fd = r->dir_watch = r->events_watch = -1;
	r->next = rs->head;
	rs->head = r;
	snprintf(path, sizeof(path), "%s/%s", rs->k->builds_dir, id);
	if (events_init(&r->events, on_state, r) < 0) {
		err_set(e, "io", "no memory");
		goto fail;
	}
	if (builddir_open(rs->k->builds_fd, id, &r->dirfd, e) < 0 ||
	    watch_add(rs->k->watch, path, DIR_MASK, on_dir, r, &r->dir_watch, e) < 0)
		goto fail;
	find_events(r);
	*out = r;
	return 0;
fail:
	run_free(r);
	return -1;
}
