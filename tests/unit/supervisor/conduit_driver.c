/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conduit_driver.c - plays control for the socket level tests: starts conduit and dialer
 * on a Unix socket and a build directory, prints what they say to control as JSON lines on
 * standard output, and sends them what comes as lines on standard input:
 *
 *	cancel <reason 1-3> <grace_ms> <text> | line <text> | event <JSON> | finish
 *
 * conduit_driver DIR DOCUMENT.json LISTEN_PATH [SOURCE_FILE]
 * Ends, with the conduit's exit status, when both have ended. Knows nothing of VMs.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "conduit.h"
#include "dialer.h"
#include "fileio.h"
#include "link.h"

static void die(const char *what)
{
	fprintf(stderr, "conduit_driver: %s: %s\n", what, strerror(errno));
	exit(2);
}

static void load(struct supjob *job, char **argv, int argc)
{
	struct err e = { 0 };
	char *text = NULL;
	size_t n = 0;
	struct stat st;

	if (fileio_read(AT_FDCWD, argv[2], SUPJOB_DOCUMENT_BYTES, &text, &n, &e) < 0 ||
	    supjob_parse(job, text, n, &e) < 0 || supjob_load_ca(job, &e) < 0) {
		fprintf(stderr, "conduit_driver: %s\n", e.text);
		exit(2);
	}
	free(text);
	if (argc < 5)
		return;
	job->source_fd = open(argv[4], O_RDONLY | O_CLOEXEC);
	if (job->source_fd < 0 || fstat(job->source_fd, &st) < 0)
		die(argv[4]);
	job->source_bytes = (uint64_t)st.st_size;
}

static int listen_on(const char *path)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 512) < 0)
		die(path);
	return fd;
}

static void print_message(const struct link_msg *m)
{
	static const char *const names[LINK_KIND_COUNT] = {
		[LINK_READY] = "ready", [LINK_HELLO] = "hello", [LINK_STATE] = "state",
		[LINK_ALIVE] = "alive", [LINK_STALLED] = "stalled", [LINK_RESULT] = "result",
		[LINK_BROKEN] = "broken", [LINK_HOST] = "host", [LINK_FINISHED] = "finished",
	};
	const char *name = m->kind < LINK_KIND_COUNT ? names[m->kind] : NULL;
	json_t *o = json_pack("{s:s, s:I, s:s, s:s, s:s, s:i, s:I, s:i, s:i, s:I, s:I, s:I, s:I}",
			      "kind", name ? name : "?", "number", (json_int_t)m->number, "text",
			      m->text, "commit", m->commit, "step_name", m->step_name, "class",
			      m->result.class_, "step", (json_int_t)m->result.step, "exit_code",
			      m->result.exit_code, "signal", (int)m->result.signal, "log_bytes",
			      (json_int_t)m->totals.log_bytes, "artifact_bytes",
			      (json_int_t)m->totals.artifact_bytes, "artifacts",
			      (json_int_t)m->totals.artifacts, "refused",
			      (json_int_t)m->totals.refused);

	json_dumpf(o, stdout, JSON_COMPACT);
	putchar('\n');
	fflush(stdout);
	json_decref(o);
}

static void send_command(int fd, char *line)
{
	struct link_msg m = { 0 };
	char text[LINK_TEXT_BYTES] = "";
	unsigned reason = 0, grace = 0;

	line[strcspn(line, "\n")] = '\0';
	if (sscanf(line, "cancel %u %u %1000[^\n]", &reason, &grace, text) >= 2) {
		m.kind = LINK_CANCEL;
		m.number = reason;
		m.grace_ms = grace;
	} else if (sscanf(line, "line %1000[^\n]", text) == 1) {
		m.kind = LINK_LINE;
	} else if (sscanf(line, "event %1000[^\n]", text) == 1) {
		m.kind = LINK_EVENT;
	} else if (strcmp(line, "finish") == 0) {
		m.kind = LINK_FINISH;
	}
	snprintf(m.text, sizeof(m.text), "%s", text);
	if (m.kind && send(fd, &m, sizeof(m), MSG_NOSIGNAL) < 0)
		fprintf(stderr, "conduit_driver: the conduit is gone\n");
}

/* Until the conduit's end of the link, or standard input, is closed. */
static void relay(int link)
{
	struct pollfd p[] = { { .fd = link, .events = POLLIN }, { .fd = 0, .events = POLLIN } };
	struct link_msg m;
	char line[2048];

	for (;;) {
		if (poll(p, 2, -1) < 0)
			die("poll");
		if (p[0].revents) {
			if (recv(link, &m, sizeof(m), 0) != (ssize_t)sizeof(m))
				return;
			print_message(&m);
		}
		if (p[1].revents) {
			size_t n = 0;

			while (n < sizeof(line) - 1 && read(0, line + n, 1) == 1 && line[n] != '\n')
				n++;
			line[n] = '\0';
			if (n == 0)
				return; /* whoever plays the build is gone */
			send_command(link, line);
		}
	}
}

int main(int argc, char **argv)
{
	int control[2], dial[2], dir, listener, status = 0;
	struct supjob job;
	pid_t conduit, dialer;

	if (argc < 4)
		return 2;
	load(&job, argv, argc);
	listener = listen_on(argv[3]);
	dir = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control) < 0 ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, dial) < 0)
		die("set-up");
	dialer = fork();
	if (dialer == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(dial[0]);
		close(control[0]);
		close(control[1]);
		close(listener);
		_exit(dialer_run(&job, dial[1]));
	}
	conduit = fork();
	if (conduit == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(dial[1]);
		close(control[0]);
		_exit(conduit_run(&job, control[1], dial[0], listener, dir));
	}
	close(dial[0]);
	close(dial[1]);
	close(control[1]);
	printf("{\"kind\":\"pids\",\"conduit\":%d,\"dialer\":%d}\n", (int)conduit, (int)dialer);
	fflush(stdout);
	relay(control[0]);
	close(control[0]); /* a conduit without control ends, and the dialer with it */
	waitpid(conduit, &status, 0);
	waitpid(dialer, NULL, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
