/* SPDX-License-Identifier: Apache-2.0 */
/* gitrun.c - starts git and reads what it says. Owns the child for the time of one call. */
#include "gitrun.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"

#define ARGS_MAX 24
#define STEP_BYTES 65536u
#define SAID_BYTES 512u

extern char **environ;

struct output {
	char *data;
	size_t len, room, max;
	char said[SAID_BYTES]; /* the end of standard error */
	size_t said_len;
};

static int grow(struct output *o)
{
	size_t room = o->room ? o->room * 2 : STEP_BYTES;
	char *bigger = realloc(o->data, room + 1);

	if (!bigger)
		return -1;
	o->data = bigger;
	o->room = room;
	return 0;
}

/* 1: more may come, 0: end, -1: no memory or too much. */
static int read_out(int fd, struct output *o)
{
	ssize_t n;

	if (o->len == o->room && (o->room >= o->max || grow(o) < 0))
		return -1;
	n = read(fd, o->data + o->len, o->room - o->len);
	if (n < 0)
		return errno == EINTR ? 1 : 0;
	o->len += (size_t)n;
	return n > 0;
}

static int read_said(int fd, struct output *o)
{
	char buf[SAID_BYTES];
	ssize_t n = read(fd, buf, sizeof(buf));

	if (n < 0)
		return errno == EINTR;
	for (ssize_t i = 0; i < n; i++) {
		if (o->said_len == SAID_BYTES - 1) {
			memmove(o->said, o->said + 1, SAID_BYTES - 2);
			o->said_len--;
		}
		o->said[o->said_len++] = buf[i];
	}
	return n > 0;
}

static int collect(int out_fd, int err_fd, struct output *o)
{
	struct pollfd p[2] = { { out_fd, POLLIN, 0 }, { err_fd, POLLIN, 0 } };

	while (p[0].fd >= 0 || p[1].fd >= 0) {
		if (poll(p, 2, -1) < 0) {
			if (errno == EINTR)
				continue;
			return -1;
		}
		if (p[0].fd >= 0 && p[0].revents) {
			int more = read_out(out_fd, o);

			if (more < 0)
				return -1;
			if (!more)
				p[0].fd = -1;
		}
		if (p[1].fd >= 0 && p[1].revents && !read_said(err_fd, o))
			p[1].fd = -1;
	}
	return 0;
}

static int spawn_git(const char *dir, int trust, const char *const *args, int out_fd, int err_fd,
		     pid_t *pid, struct err *e)
{
	const char *argv[ARGS_MAX] = { "git", "-C", dir, "--no-pager", "--no-optional-locks", "-c",
				       "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null" };
	posix_spawn_file_actions_t fa;
	size_t n = 9;
	int rc;

	if (trust) {
		argv[n++] = "-c";
		argv[n++] = "safe.directory=*";
	}
	for (; *args && n < ARGS_MAX - 1; args++)
		argv[n++] = *args;
	argv[n] = NULL;
	if (posix_spawn_file_actions_init(&fa) != 0)
		return err_set(e, "git", "no memory");
	rc = posix_spawn_file_actions_addopen(&fa, 0, "/dev/null", O_RDONLY, 0);
	rc |= posix_spawn_file_actions_adddup2(&fa, out_fd, 1);
	rc |= posix_spawn_file_actions_adddup2(&fa, err_fd, 2);
	if (rc == 0)
		rc = posix_spawnp(pid, "git", &fa, NULL, (char *const *)argv, environ);
	posix_spawn_file_actions_destroy(&fa);
	if (rc == ENOENT)
		return err_set(e, "no_git", "git is not installed");
	return rc ? err_set(e, "git", "cannot start git: %s", strerror(rc)) : 0;
}

/* The last line of what git said. */
static const char *last_line(struct output *o)
{
	char *slash_n;

	while (o->said_len > 0 && o->said[o->said_len - 1] == '\n')
		o->said_len--;
	o->said[o->said_len] = '\0';
	slash_n = strrchr(o->said, '\n');
	return slash_n ? slash_n + 1 : o->said;
}

int gitrun(const char *dir, int trust, const char *const *args, size_t max_bytes, char **out,
	   size_t *len, struct err *e)
{
	struct output o = { .max = max_bytes };
	int p_out[2], p_err[2], status = 0, rc;
	pid_t pid;

	if (pipe2(p_out, O_CLOEXEC) < 0)
		return err_errno(e, "git", "cannot make a pipe");
	if (pipe2(p_err, O_CLOEXEC) < 0) {
		err_errno(e, "git", "cannot make a pipe");
		close(p_out[0]);
		close(p_out[1]);
		return -1;
	}
	rc = spawn_git(dir, trust, args, p_out[1], p_err[1], &pid, e);
	close(p_out[1]);
	close(p_err[1]);
	if (rc == 0) {
		rc = collect(p_out[0], p_err[0], &o);
		if (rc < 0) {
			kill(pid, SIGKILL);
			err_set(e, "git", "git %s says more than %zu bytes", args[0], max_bytes);
		}
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			;
	}
	close(p_out[0]);
	close(p_err[0]);
	if (rc == 0 && status != 0)
		rc = err_set(e, "git", "git %s: %.300s", args[0], last_line(&o));
	if (rc == 0 && !o.data && grow(&o) < 0)
		rc = err_set(e, "git", "no memory");
	if (rc < 0) {
		free(o.data);
		return -1;
	}
	o.data[o.len] = '\0';
	*out = o.data;
	*len = o.len;
	return 0;
}
