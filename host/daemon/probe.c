/* SPDX-License-Identifier: Apache-2.0 */
/*
 * probe.c - asks kiln-supervisor what the VMM can do (docs/build-directory.md). Owns the answer.
 * Builds do not wait for it: each supervisor looks for itself; this is for people and /health.
 */
#include "probe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "child.h"
#include "cleanup.h"
#include "job.h"
#include "log.h"
#include "launch.h"
#include "talk.h"

/* Booting the tiny guest has a deadline of its own in the supervisor; this one is for a hang. */
#define PROBE_TIMEOUT_MS 120000

struct probe {
	struct child *child;
	struct talk *talk;
	json_t *facts;
	char error[ERR_TEXT_BYTES];
};

static void on_child_end(void *arg, const char *how)
{
	struct probe *p = arg;

	(void)how;
	p->child = NULL;
}

static void on_answer(void *arg, const char *line, const struct err *e)
{
	struct probe *p = arg;

	p->talk = NULL;
	if (line && *line == '{')
		p->facts = json_loads(line, 0, NULL);
	if (p->facts) {
		log_line(LOG_LEVEL_INFO, NULL, "VMM: %s", line);
		return;
	}
	snprintf(p->error, sizeof(p->error), "%s", !line ? e->text :
		 strncmp(line, "error ", 6) == 0 ? line + 6 : "the probe's answer is not readable");
	log_line(LOG_LEVEL_ERROR, NULL, "no build can run: %s", p->error);
}

static int start(struct kilnd *k, struct probe *p, struct err *e)
{
	char *argv[] = { (char *)config_str(k->cfg, CONFIG_SUPERVISOR), "--probe", "--config-fd", "3",
			 NULL };
	_cleanup_free_ char *text = NULL, *frame = NULL;
	_cleanup_fd_ int ours = -1, theirs = -1;
	json_t *doc = job_probe_doc(k->cfg);
	int sv[2];
	size_t n = 0;
	pid_t pid;

	text = doc ? json_dumps(doc, JSON_COMPACT) : NULL;
	json_decref(doc);
	if (!text || launch_frame(text, strlen(text), &frame, &n, e) < 0)
		return err_set(e, "io", "no memory");
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0)
		return err_errno(e, "io", "cannot make a socket pair");
	ours = sv[0];
	theirs = sv[1];
	/* The answer comes on descriptor 3 or on standard output: both are this socket. */
	if (launch_process(argv, theirs, theirs, k->supervisor_log_fd, &pid, e) < 0 ||
	    child_watch(k->loop, pid, 0, on_child_end, p, &p->child, e) < 0)
		return -1;
	return talk_start(k->loop, take_fd(&ours), take_ptr(&frame), n, PROBE_TIMEOUT_MS, on_answer, p,
			  &p->talk, e);
}

struct probe *probe_start(struct kilnd *k)
{
	struct probe *p = calloc(1, sizeof(*p));
	struct err e = { 0 };

	if (p && start(k, p, &e) < 0) {
		snprintf(p->error, sizeof(p->error), "%s", e.text);
		log_line(LOG_LEVEL_ERROR, NULL, "no build can run: %s", p->error);
	}
	return p;
}

void probe_free(struct probe *p)
{
	if (!p)
		return;
	child_forget(p->child);
	talk_drop(p->talk);
	json_decref(p->facts);
	free(p);
}

const json_t *probe_facts(const struct probe *p)
{
	return p->facts;
}

const char *probe_error(const struct probe *p)
{
	return *p->error ? p->error : NULL;
}
