/* SPDX-License-Identifier: Apache-2.0 */
/* program.c - short-lived programs: mke2fs, qemu --version, the probe guest. Owns no state. */
#include "program.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "clock.h"

static bool is_program(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & 0111);
}

int program_find(const char *name, char *out, size_t n, struct err *e)
{
	const char *path = getenv("PATH");
	char dirs[4096];
	char *rest = dirs;

	if (strchr(name, '/')) {
		if (is_program(name) && snprintf(out, n, "%s", name) < (int)n)
			return 0;
		return err_set(e, "not_found", "there is no program %s", name);
	}
	snprintf(dirs, sizeof(dirs), "%.3900s:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin",
		 path ? path : "");
	for (char *dir; *name && (dir = strsep(&rest, ":"));)
		if (*dir == '/' && snprintf(out, n, "%s/%s", dir, name) < (int)n && is_program(out))
			return 0;
	return err_set(e, "not_found", "there is no program '%s' in PATH", name);
}

/* Read until end of file or the deadline; what does not fit is thrown away. */
static void collect(int fd, uint64_t until, struct program_output *out)
{
	for (;;) {
		char scrap[512];
		size_t room = sizeof(out->text) - 1 - out->bytes;
		struct pollfd p = { .fd = fd, .events = POLLIN };
		uint64_t now = clock_mono_ms();
		ssize_t got;

		if (now >= until || poll(&p, 1, (int)(until - now)) == 0) {
			out->timed_out = true;
			return;
		}
		got = room ? read(fd, out->text + out->bytes, room) : read(fd, scrap, sizeof(scrap));
		if (got < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (got <= 0)
			return;
		if (room)
			out->bytes += (size_t)got;
	}
}

int program_run(const struct child_spec *spec, uint64_t timeout_ms, struct program_output *out,
		struct err *e)
{
	uint64_t until = clock_mono_ms() + timeout_ms;
	struct child_spec mine = *spec;
	struct child c = CHILD_NONE;
	_cleanup_fd_ int in = -1, end = -1;
	int fds[2];

	*out = (struct program_output){ .status = CHILD_NOT_EXITED };
	if (pipe2(fds, O_CLOEXEC) < 0)
		return err_errno(e, "host", "cannot make a pipe");
	in = fds[0];
	end = fds[1];
	mine.stdio[0] = -1;
	mine.stdio[1] = mine.stdio[2] = end;
	for (unsigned i = 0; i < mine.keeps; i++)
		if (mine.keep[i] < 0)
			mine.keep[i] = end;
	if (child_start(&mine, &c, e) < 0)
		return -1;
	close(take_fd(&end));
	collect(in, until, out);
	if (out->timed_out)
		child_kill(&c, SIGKILL);
	if (!child_wait(&c, 5000)) { /* it closed its output and went on */
		child_kill(&c, SIGKILL);
		out->timed_out = true;
		child_wait(&c, 5000);
	}
	out->status = c.status;
	return 0;
}
