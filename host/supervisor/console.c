/* SPDX-License-Identifier: Apache-2.0 */
/*
 * console.c - copies the console into a bounded file. Owns console.log while it runs; after
 * it locked itself down it can read its pipe, write its file and exit, nothing else.
 *
 * The head is written as it comes. What follows goes into a ring in memory and is written
 * behind a line that says how much was left out, once the console has ended: the end of a
 * console is what matters, and it is only known then.
 */
#include "console.h"

#include <errno.h>
#include <fcntl.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/param.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"

struct ring {
	uint64_t total; /* bytes that came after the head */
	size_t size;
	char data[CONSOLE_TAIL];
};

#ifdef __SANITIZE_ADDRESS__
static int lock_down(void)
{
	return 0; /* the sanitizers need calls that the filter forbids (lockdown.c) */
}
#else
static int lock_down(void)
{
	static const int allowed[] = { SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(exit),
				       SCMP_SYS(exit_group), SCMP_SYS(rt_sigreturn) };
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_KILL_PROCESS);
	int rc = ctx ? 0 : -1;

	for (size_t i = 0; rc == 0 && i < sizeof(allowed) / sizeof(allowed[0]); i++)
		rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, allowed[i], 0);
	if (rc == 0)
		rc = seccomp_load(ctx); /* sets no_new_privs, seccomp_load(3) */
	seccomp_release(ctx);
	return rc;
}
#endif

static int put(const char *p, size_t n)
{
	while (n > 0) {
		ssize_t done = write(CONSOLE_OUT_FD, p, n);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return -1;
		p += done;
		n -= (size_t)done;
	}
	return 0;
}

static void ring_add(struct ring *r, const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		r->data[r->total++ % r->size] = p[i];
}

static int put_ring(const struct ring *r)
{
	size_t at = (size_t)(r->total % r->size);
	char line[96];

	if (r->total <= r->size)
		return put(r->data, (size_t)r->total);
	snprintf(line, sizeof(line), "\n[kiln: %llu bytes left out]\n",
		 (unsigned long long)(r->total - r->size));
	if (put(line, strlen(line)) < 0 || put(r->data + at, r->size - at) < 0)
		return -1;
	return put(r->data, at);
}

int console_body(void *arg)
{
	static struct ring ring;
	const struct console_args *args = arg;
	size_t head = (size_t)MIN(args->limit_bytes / 2, CONSOLE_HEAD);
	char buf[4096];

	ring.size = (size_t)MIN(args->limit_bytes - head - 64, CONSOLE_TAIL);
	if (lock_down() < 0)
		return 1;
	for (;;) {
		ssize_t got = read(CONSOLE_IN_FD, buf, sizeof(buf));
		size_t n = got > 0 ? (size_t)got : 0, first = MIN(n, head);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		if (put(buf, first) < 0)
			return 1;
		head -= first;
		ring_add(&ring, buf + first, n - first);
	}
	return put_ring(&ring) < 0;
}

void console_tail(int dir_fd, char *out, size_t n, bool *panicked)
{
	_cleanup_fd_ int fd = openat(dir_fd, "console.log", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	_cleanup_free_ char *buf = malloc(CONSOLE_TAIL);
	struct stat st;
	ssize_t got;

	out[0] = '\0';
	*panicked = false;
	if (fd < 0 || !buf || fstat(fd, &st) < 0)
		return;
	got = pread(fd, buf, CONSOLE_TAIL, MAX(0, st.st_size - (off_t)CONSOLE_TAIL));
	if (got <= 0)
		return;
	*panicked = memmem(buf, (size_t)got, "Kernel panic", 12) != NULL;
	const char *from = buf + got - MIN((size_t)got, MIN(n - 1, CONSOLE_TAIL_TEXT));
	size_t len = 0;

	for (; from < buf + got; from++)
		if (*from == '\n' || *from == '\t' || (*from >= 0x20 && *from < 0x7f))
			out[len++] = *from;
		else if (*from != '\r' && *from != '\0')
			out[len++] = '?';
	out[len] = '\0';
}
