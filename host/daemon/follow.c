/* SPDX-License-Identifier: Apache-2.0 */
/*
 * follow.c - followers of logs. Owns one feed a followed build (the open log, its inotify watch)
 * and the followers on it. A follower is a connection that libmicrohttpd asks for more whenever
 * its client can take more; with nothing to give, it is suspended until the log grows, the
 * build ends or a comment is due. So a slow client holds up nobody and needs no memory.
 */
#include "follow.h"

#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "builddir.h"
#include "cleanup.h"
#include "clock.h"
#include "http.h"
#include "log.h"
#include "sse.h"
#include "view.h"
#include "watch.h"

#define FOLLOW_CHUNK_BYTES (16 * 1024)
#define FOLLOW_BLOCK_BYTES (16 * 1024)
#define FOLLOW_COMMENT_MS 15000

struct feed {
	struct follows *fs;
	char id[JOB_ID_BYTES];
	int fd;                  /* the log, -1 until it is there */
	int watch;
	char *end;               /* the data of the event `end`, once there is a verdict */
	struct follower *followers;
	struct feed *next;
};

struct follower {
	struct feed *feed;
	struct MHD_Connection *conn;
	off_t off;               /* of the next log byte to send */
	int base64;
	int suspended;
	int end_sent;
	char *out;               /* what is encoded and not yet taken */
	size_t out_len, out_off;
	uint64_t comment_at_ms;  /* monotonic */
	struct follower *next;
};

struct follows {
	struct kilnd *k;
	struct feed *feeds;
	uv_timer_t timer;        /* the next comment that is due */
	int stopping;
};

static void on_timer(uv_timer_t *t);

static void wake(struct follower *f)
{
	if (!f->suspended)
		return;
	f->suspended = 0;
	httpd_resume(f->feed->fs->k->httpd, f->conn);
}

static void wake_all(struct feed *feed)
{
	for (struct follower *f = feed->followers; f; f = f->next)
		wake(f);
}

/* ---- the feed ---- */

static void on_grown(void *arg, uint32_t mask, const char *name)
{
	(void)mask;
	(void)name;
	wake_all(arg);
}

/* The log may not exist yet: a queued build has no directory, a starting one no log. */
static void open_log(struct feed *feed)
{
	struct kilnd *k = feed->fs->k;
	_cleanup_fd_ int dirfd = -1;
	char path[PATH_MAX + 64];
	struct err e = { 0 };
	off_t size;

	if (feed->fd >= 0 || builddir_open(k->builds_fd, feed->id, &dirfd, NULL) < 0 ||
	    builddir_open_file(dirfd, "log", &feed->fd, &size, NULL) < 0)
		return;
	if (feed->end)
		return; /* it grows no more */
	snprintf(path, sizeof(path), "%s/%s/log", k->builds_dir, feed->id);
	if (watch_add(k->watch, path, IN_MODIFY, on_grown, feed, &feed->watch, &e) < 0)
		log_line(LOG_LEVEL_WARN, feed->id, "%s", e.text);
}

static struct feed *find_feed(struct follows *fs, const char *id)
{
	struct feed *feed = fs->feeds;

	while (feed && strcmp(feed->id, id) != 0)
		feed = feed->next;
	return feed;
}

static void set_end(struct feed *feed, const struct record *rec)
{
	json_t *o = view_end(rec);

	free(feed->end);
	feed->end = o ? json_dumps(o, JSON_COMPACT) : strdup("{}");
	json_decref(o);
}

static struct feed *get_feed(struct follows *fs, const struct record *rec)
{
	struct feed *feed = find_feed(fs, rec->id);

	if (feed)
		return feed;
	feed = calloc(1, sizeof(*feed));
	if (!feed)
		return NULL;
	feed->fs = fs;
	memcpy(feed->id, rec->id, sizeof(feed->id));
	feed->fd = feed->watch = -1;
	if (state_final(rec->state))
		set_end(feed, rec);
	open_log(feed);
	feed->next = fs->feeds;
	fs->feeds = feed;
	return feed;
}

static void free_feed(struct feed *feed)
{
	struct feed **p = &feed->fs->feeds;

	while (*p != feed)
		p = &(*p)->next;
	*p = feed->next;
	watch_remove(feed->fs->k->watch, feed->watch);
	cleanup_fd(&feed->fd);
	free(feed->end);
	free(feed);
}

/* ---- the follower ---- */

static int encode_log(struct follower *f)
{
	char buf[FOLLOW_CHUNK_BYTES];
	ssize_t n = f->feed->fd < 0 ? 0 : pread(f->feed->fd, buf, sizeof(buf), f->off);
	int last = f->feed->end && n < (ssize_t)sizeof(buf);
	size_t whole;

	if (n <= 0)
		return 0;
	whole = last || f->base64 ? (size_t)n : sse_whole(buf, (size_t)n);
	if (whole == 0)
		return 0;
	f->off += (off_t)whole;
	if ((f->base64 ? sse_base64 : sse_text)((uint64_t)f->off, buf, whole, &f->out, &f->out_len) < 0)
		return -1;
	return 1;
}

static int encode_rest(struct follower *f)
{
	static const char comment[] = ": still there\n\n";

	if (f->feed->end && !f->end_sent) {
		f->end_sent = 1;
		return sse_named("end", (uint64_t)f->off, f->feed->end, &f->out, &f->out_len) < 0 ? -1 : 1;
	}
	if (f->feed->end || clock_mono_ms() < f->comment_at_ms)
		return 0;
	f->out = strdup(comment);
	f->out_len = sizeof(comment) - 1;
	return f->out ? 1 : -1;
}

static void arm(struct follows *fs)
{
	uint64_t first = UINT64_MAX, now = clock_mono_ms();

	for (struct feed *feed = fs->feeds; feed; feed = feed->next) {
		for (struct follower *f = feed->followers; f; f = f->next) {
			if (f->comment_at_ms < first)
				first = f->comment_at_ms;
		}
	}
	if (first == UINT64_MAX)
		uv_timer_stop(&fs->timer);
	else
		uv_timer_start(&fs->timer, on_timer, first > now ? first - now : 1, 0);
}

static void on_timer(uv_timer_t *t)
{
	struct follows *fs = t->data;
	uint64_t now = clock_mono_ms();

	for (struct feed *feed = fs->feeds; feed; feed = feed->next) {
		for (struct follower *f = feed->followers; f; f = f->next) {
			if (f->comment_at_ms > now)
				continue;
			if (f->suspended)
				wake(f);
			else /* its client is slow: it has bytes waiting and needs no comment */
				f->comment_at_ms = now + FOLLOW_COMMENT_MS;
		}
	}
	arm(fs);
}

static ssize_t on_read(void *cls, uint64_t pos, char *buf, size_t max)
{
	struct follower *f = cls;
	size_t n;
	int rc;

	(void)pos;
	if (!f->out) {
		if (f->feed->fs->stopping)
			return MHD_CONTENT_READER_END_OF_STREAM;
		rc = encode_log(f);
		if (rc == 0)
			rc = encode_rest(f);
		if (rc < 0)
			return MHD_CONTENT_READER_END_WITH_ERROR;
		if (rc == 0 && f->end_sent)
			return MHD_CONTENT_READER_END_OF_STREAM;
		if (rc == 0) {
			f->suspended = 1;
			MHD_suspend_connection(f->conn);
			return 0;
		}
		f->out_off = 0;
		f->comment_at_ms = clock_mono_ms() + FOLLOW_COMMENT_MS;
	}
	n = f->out_len - f->out_off < max ? f->out_len - f->out_off : max;
	memcpy(buf, f->out + f->out_off, n);
	f->out_off += n;
	if (f->out_off == f->out_len) {
		free(f->out);
		f->out = NULL;
	}
	return (ssize_t)n;
}

static void on_gone(void *cls)
{
	struct follower *f = cls, **p = &f->feed->followers;

	while (*p != f)
		p = &(*p)->next;
	*p = f->next;
	if (!f->feed->followers)
		free_feed(f->feed);
	free(f->out);
	free(f);
}

void follow_start(struct follows *fs, struct request *r, const struct record *rec, uint64_t from,
		  int base64)
{
	struct feed *feed = get_feed(fs, rec);
	struct follower *f = calloc(1, sizeof(*f));
	struct MHD_Response *resp;

	if (!feed || !f) {
		free(f);
		reply_response(r, 500, NULL);
		return;
	}
	f->feed = feed;
	f->conn = r->conn;
	f->off = (off_t)from;
	f->base64 = base64;
	f->comment_at_ms = clock_mono_ms() + FOLLOW_COMMENT_MS;
	f->next = feed->followers;
	feed->followers = f;
	resp = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, FOLLOW_BLOCK_BYTES, on_read, f, on_gone);
	if (!resp) {
		on_gone(f);
		reply_response(r, 500, NULL);
		return;
	}
	MHD_add_response_header(resp, MHD_HTTP_HEADER_CONTENT_TYPE, "text/event-stream; charset=utf-8");
	MHD_add_response_header(resp, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
	MHD_add_response_header(resp, "X-Accel-Buffering", "no");
	reply_response(r, 200, resp);
	if (!uv_is_active((uv_handle_t *)&fs->timer))
		arm(fs);
}

/* ---- what happens to builds ---- */

void follow_wake(struct follows *fs, const char *id)
{
	struct feed *feed = find_feed(fs, id);

	if (!feed)
		return;
	open_log(feed);
	wake_all(feed);
}

void follow_finished(struct follows *fs, const struct record *rec)
{
	struct feed *feed = find_feed(fs, rec->id);

	if (!feed)
		return;
	open_log(feed);
	set_end(feed, rec);
	wake_all(feed);
}

void follow_stop(struct follows *fs)
{
	fs->stopping = 1;
	for (struct feed *feed = fs->feeds; feed; feed = feed->next)
		wake_all(feed);
}

struct follows *follows_new(struct kilnd *k)
{
	struct follows *fs = calloc(1, sizeof(*fs));

	if (!fs)
		return NULL;
	fs->k = k;
	uv_timer_init(k->loop, &fs->timer);
	fs->timer.data = fs;
	return fs;
}

static void on_closed(uv_handle_t *h)
{
	free(h->data);
}

void follows_free(struct follows *fs)
{
	if (!fs)
		return;
	uv_close((uv_handle_t *)&fs->timer, on_closed);
}
