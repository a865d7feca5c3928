/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c - kilnd. Owns struct kilnd and every part of it; makes them in order, ends them in
 * order. Only this file exits.
 *
 * At the end (SIGTERM, SIGINT) supervisors are left alone: they run on, and the next kilnd
 * adopts them. What was accepted is stored before it is answered, so nothing needs saving.
 */
#include <fcntl.h>
#include <locale.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "builds.h"
#include "clock.h"
#include "follow.h"
#include "http.h"
#include "log.h"
#include "notify.h"
#include "probe.h"
#include "route.h"
#include "run.h"
#include "scheduler.h"
#include "startup.h"
#include "store.h"
#include "watch.h"
#include "writer.h"

#define STOP_LINGER_MS 300
#define FILES_WANTED 65536

static const char usage[] =
	"usage: kilnd [--config FILE] [--dir DIR] [--socket PATH] [--host HOST] [--port PORT]\n"
	"             [--token-file FILE] [--log LEVEL] [--set NAME=VALUE]...\n"
	"       kilnd --dump-routes | --version | --help\n"
	"`kiln config show` prints every setting and where its value comes from.\n";

/* Descriptors 0 to 3 are what a child gets; nothing of ours may ever be there (launch.c). */
static void fill_low_descriptors(void)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDWR);
	} while (fd >= 0 && fd < 3);
	if (fd > 3)
		close(fd);
}

static void raise_file_limit(void)
{
	struct rlimit rl;

	if (getrlimit(RLIMIT_NOFILE, &rl) < 0)
		return;
	rl.rlim_cur = rl.rlim_max < FILES_WANTED ? rl.rlim_max : FILES_WANTED;
	setrlimit(RLIMIT_NOFILE, &rl);
}

/* ---- begin ---- */

static int adopt_row(void *arg, const struct record *r)
{
	struct kilnd *k = arg;
	struct build *b = builds_add(k->builds, r);

	if (!b)
		return 1;
	if (b->state == STATE_QUEUED) {
		scheduler_enqueue(k->scheduler, b);
		return 0;
	}
	scheduler_occupy(k->scheduler, b);
	run_adopt(k->runs, b);
	return 0;
}

static int open_store(struct kilnd *k, struct err *e)
{
	char path[PATH_MAX];

	if (config_below(k->cfg, path, sizeof(path), "kiln.db") < 0)
		return err_set(e, "config", "the path of dir is too long");
	if (writer_start(k->loop, path, &k->writer, e) < 0)
		return -1;
	return store_open(path, &k->store, e);
}

static int begin(struct kilnd *k, struct err *e)
{
	if (open_store(k, e) < 0 || watch_open(k->loop, &k->watch, e) < 0)
		return -1;
	k->builds = builds_new(k);
	k->scheduler = scheduler_new(k);
	k->runs = runs_new(k);
	k->follows = follows_new(k);
	if (!k->builds || !k->scheduler || !k->runs || !k->follows)
		return err_set(e, "io", "no memory");
	if (httpd_start(k, &k->httpd, e) < 0)
		return -1;
	startup_sweep(k);
	k->probe = probe_start(k);
	if (!k->probe)
		return err_set(e, "io", "no memory");
	/* stopping holds the scheduler back until every row is in. */
	k->stopping = 1;
	if (store_unfinished(k->store, adopt_row, k, e) < 0)
		return -1;
	k->stopping = 0;
	scheduler_kick(k->scheduler);
	return 0;
}

/* ---- end ---- */

static void on_lingered(uv_timer_t *t)
{
	uv_stop(t->loop);
}

/* Answers that are due get a moment to leave; nothing else happens any more. */
static void linger(struct kilnd *k)
{
	uv_timer_t t;

	uv_timer_init(k->loop, &t);
	uv_timer_start(&t, on_lingered, STOP_LINGER_MS, 0);
	uv_run(k->loop, UV_RUN_DEFAULT);
	uv_close((uv_handle_t *)&t, NULL);
	uv_run(k->loop, UV_RUN_NOWAIT);
}

static void end(struct kilnd *k)
{
	k->stopping = 1;
	if (k->httpd)
		httpd_quiesce(k->httpd);
	probe_free(k->probe);
	runs_free(k->runs);
	writer_stop(k->writer);
	builds_free(k->builds);
	scheduler_free(k->scheduler);
	if (k->httpd) {
		follow_stop(k->follows);
		linger(k);
		httpd_stop(k->httpd);
	}
	follows_free(k->follows);
	watch_close(k->watch);
	store_close(k->store);
}

static void on_signal(uv_signal_t *s, int sig)
{
	log_line(LOG_LEVEL_INFO, NULL, "signal %d: stopping; running builds run on", sig);
	uv_stop(s->loop);
}

static int serve(struct kilnd *k, struct err *e)
{
	uv_loop_t loop;
	uv_signal_t term, interrupt;
	int rc;

	if (uv_loop_init(&loop) < 0)
		return err_set(e, "io", "cannot make an event loop");
	k->loop = &loop;
	uv_signal_init(&loop, &term);
	uv_signal_init(&loop, &interrupt);
	uv_signal_start(&term, on_signal, SIGTERM);
	uv_signal_start(&interrupt, on_signal, SIGINT);
	rc = begin(k, e);
	if (rc == 0) {
		log_line(LOG_LEVEL_INFO, NULL, "kilnd %s is ready", KILN_VERSION);
		notify_ready();
		uv_run(&loop, UV_RUN_DEFAULT);
	}
	uv_close((uv_handle_t *)&term, NULL);
	uv_close((uv_handle_t *)&interrupt, NULL);
	end(k);
	uv_run(&loop, UV_RUN_NOWAIT);
	uv_loop_close(&loop);
	return rc;
}

static int run(const struct config *cfg, struct err *e)
{
	struct kilnd k = { .cfg = cfg, .builds_fd = -1, .supervisor_log_fd = -1 };
	int lock_fd = -1;
	int rc = -1;

	k.started_ms = clock_wall_ms();
	if (startup_check(cfg, e) == 0 && startup_dirs(&k, &lock_fd, e) == 0)
		rc = serve(&k, e);
	if (k.builds_fd >= 0)
		close(k.builds_fd);
	if (k.supervisor_log_fd >= 0)
		close(k.supervisor_log_fd);
	if (lock_fd >= 0)
		close(lock_fd);
	return rc;
}

static int fail(const struct err *e, int status)
{
	fprintf(stderr, "kilnd: %s\n", e->text);
	return status;
}

int main(int argc, char **argv)
{
	struct config_flags flags = { 0 };
	struct config *cfg = NULL;
	enum log_level level;
	struct err e = { 0 };
	int rc;

	fill_low_descriptors();
	setlocale(LC_CTYPE, "C.UTF-8"); /* names of artifacts are UTF-8: libarchive looks here */
	mallopt(M_ARENA_MAX, 1); /* two threads, one of them idle: a second arena is only waste */
	if (config_take_flags(&flags, &argc, argv, &e) < 0)
		return fail(&e, 2);
	if (argc == 2 && strcmp(argv[1], "--dump-routes") == 0) {
		route_dump(stdout);
		return 0;
	}
	if (argc == 2 && strcmp(argv[1], "--version") == 0) {
		puts("kilnd " KILN_VERSION);
		return 0;
	}
	if (argc > 1) {
		int help = strcmp(argv[1], "--help") == 0;

		fputs(usage, help ? stdout : stderr);
		return help ? 0 : 2;
	}
	if (config_load(&flags, &cfg, &e) < 0)
		return fail(&e, 1);
	if (log_level_parse(config_str(cfg, CONFIG_LOG), &level) == 0)
		log_set_level(level);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN); /* a file too large is an error of the write, like a full disk */
	umask(022); /* what is private says so itself; the rest must be passable for other uids */
	raise_file_limit();
	rc = run(cfg, &e);
	config_free(cfg);
	return rc < 0 ? fail(&e, 1) : 0;
}
