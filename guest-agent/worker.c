/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker.c - what every forked child of the agent does: report to PID 1, give up root.
 *
 * Owns nothing. Writes only to report_fd. The packets go to a process that trusts none of
 * them, yet the text is made fit for the log here, where it is known to be one line.
 */
#include "worker.h"

#include <errno.h>
#include <grp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "text.h"
#include "wire_msg.h"

void worker_send(const struct worker_env *env, const struct worker_msg *msg)
{
	/* A report that cannot be sent means that PID 1 is gone, and then so is everything. */
	while (send(env->report_fd, msg, sizeof(*msg), MSG_NOSIGNAL) < 0 && errno == EINTR)
		;
}

/* text_copy, and line ends and tabs become spaces: what is reported is one line. */
static void copy_line(char *dst, size_t cap, const char *src)
{
	size_t n = text_copy(dst, cap, src, strlen(src));

	for (size_t i = 0; i < n; i++) {
		if (dst[i] == '\n' || dst[i] == '\t')
			dst[i] = ' ';
	}
	while (n > 0 && dst[n - 1] == ' ')
		dst[--n] = '\0';
}

void worker_line(const struct worker_env *env, const char *fmt, ...)
{
	struct worker_msg msg = { .kind = WORKER_LINE };
	char raw[4 * FAIL_TEXT_BYTES];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(raw, sizeof(raw), fmt, ap);
	va_end(ap);
	copy_line(msg.text, sizeof(msg.text), raw);
	worker_send(env, &msg);
}

void worker_note(const struct worker_env *env, const char *key, const char *value)
{
	struct worker_msg msg = { .kind = WORKER_NOTE };

	copy_line(msg.key, sizeof(msg.key), key);
	copy_line(msg.text, sizeof(msg.text), value);
	worker_send(env, &msg);
}

void worker_source(const struct worker_env *env, const char *commit, const char *ref, int shallow,
		   uint32_t submodules)
{
	struct worker_msg msg = { .kind = WORKER_SOURCE, .submodules = submodules,
				  .shallow = shallow ? 1 : 0 };

	copy_line(msg.commit, sizeof(msg.commit), commit);
	copy_line(msg.ref, sizeof(msg.ref), ref);
	worker_send(env, &msg);
}

int worker_fail(const struct worker_env *env, const struct fail *f)
{
	struct worker_msg msg = { .kind = WORKER_FAIL, .class_ = f->class_ };

	copy_line(msg.text, sizeof(msg.text), f->text);
	worker_send(env, &msg);
	return 1;
}

int worker_done(const struct worker_env *env)
{
	struct worker_msg msg = { .kind = WORKER_DONE };

	worker_send(env, &msg);
	return 0;
}

void worker_wipe_secret(const struct worker_env *env)
{
	/* const says that workers do not own it; the memory is this process's own copy. */
	explicit_bzero((void *)env->secret, WIRE_MAX_SECRET);
}

int worker_drop(const struct worker_env *env, struct fail *f)
{
	uid_t r, e, s;

	umask(022);
	if (setgroups(0, NULL) < 0 || setresgid(env->gid, env->gid, env->gid) < 0 ||
	    setresuid(env->uid, env->uid, env->uid) < 0)
		return fail_errno(f, WIRE_CLASS_AGENT, "cannot become the user %u",
				  (unsigned)env->uid);
	if (getresuid(&r, &e, &s) < 0 || r != env->uid || e != env->uid || s != env->uid)
		return fail_set(f, WIRE_CLASS_AGENT, "did not become the user %u",
				(unsigned)env->uid);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return fail_errno(f, WIRE_CLASS_AGENT, "cannot give up privileges");
	return 0;
}
