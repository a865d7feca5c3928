/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon.h - what kilnd is made of. main.c owns one struct kilnd and passes it on; each part
 * is known here by its name only and has a header of its own.
 */
#ifndef KILN_DAEMON_H
#define KILN_DAEMON_H

#include <limits.h>
#include <stdint.h>
#include <uv.h>

#include "config.h"

struct kilnd {
	const struct config *cfg;
	uv_loop_t *loop;
	struct store *store;         /* reading the database */
	struct writer *writer;       /* writing it */
	struct builds *builds;       /* the builds without a recorded verdict */
	struct scheduler *scheduler; /* which of them starts next */
	struct watch *watch;         /* inotify */
	struct runs *runs;           /* the supervisors that live */
	struct follows *follows;     /* who follows a log */
	struct probe *probe;         /* what the VMM can do */
	struct httpd *httpd;         /* sockets and requests */
	char builds_dir[PATH_MAX];
	int builds_fd;
	int supervisor_log_fd;
	uint64_t started_ms;         /* wall clock */
	int stopping;
};

#endif
