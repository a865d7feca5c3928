/* SPDX-License-Identifier: Apache-2.0 */
/*
 * artifact.c - the artifact process: its birth, its messages, its loop.
 *
 * Owns the link and the directory descriptors. It has no job but the limits, no secret, and
 * after the lock-down nothing but new files below the build directory.
 */
#include "artifact.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "artifact_hash.h"
#include "artifact_manifest.h"
#include "artifact_unpack.h"
#include "lockdown.h"
#include "wire.h"

union fd_room {
	struct cmsghdr align;
	char room[CMSG_SPACE(sizeof(int))];
};

int artifact_send(int fd, const struct artifact_msg *msg, int pass)
{
	struct iovec iov = { (void *)(uintptr_t)msg, sizeof(*msg) };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	union fd_room control = { 0 };
	struct cmsghdr *h;

	if (pass >= 0) {
		m.msg_control = &control;
		m.msg_controllen = sizeof(control);
		h = CMSG_FIRSTHDR(&m);
		h->cmsg_level = SOL_SOCKET;
		h->cmsg_type = SCM_RIGHTS;
		h->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(h), &pass, sizeof(int));
	}
	return sendmsg(fd, &m, MSG_NOSIGNAL) == (ssize_t)sizeof(*msg) ? 0 : -1;
}

int artifact_recv(int fd, struct artifact_msg *msg, int *pass, int wait)
{
	struct iovec iov = { msg, sizeof(*msg) };
	union fd_room control;
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
			    .msg_controllen = sizeof(control) };
	ssize_t n = recvmsg(fd, &m, MSG_CMSG_CLOEXEC | (wait ? 0 : MSG_DONTWAIT));
	struct cmsghdr *h = n > 0 ? CMSG_FIRSTHDR(&m) : NULL;

	*pass = -1;
	if (h && h->cmsg_level == SOL_SOCKET && h->cmsg_type == SCM_RIGHTS &&
	    h->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(pass, CMSG_DATA(h), sizeof(int));
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n != (ssize_t)sizeof(*msg))
		return -1;
	msg->sha256[sizeof(msg->sha256) - 1] = '\0';
	msg->text[sizeof(msg->text) - 1] = '\0';
	msg->path[sizeof(msg->path) - 1] = '\0';
	return 1;
}

/* "always there once the build collected" */
static void write_empty(const struct artifact_dirs *dirs, int link_fd)
{
	struct artifact_msg note = { .kind = ARTIFACT_FAILED };
	struct manifest *m = NULL;
	struct err e;

	if (manifest_new(&m, dirs->build_fd, dirs->build_id, 0, &e) < 0 ||
	    manifest_finish(m, "", 0, 0, &e) < 0 || manifest_sync(m, &e) < 0) {
		snprintf(note.text, sizeof(note.text), "%s", e.text);
		artifact_send(link_fd, &note, -1);
	}
	manifest_free(m);
}

static void refuse(int fd, uint16_t code, const char *text)
{
	struct wire_msg msg = { .type = WIRE_REFUSED };
	uint8_t out[256];
	size_t n;

	msg.u.error.code = code;
	msg.u.error.message = wire_text(text);
	if (wire_encode(&msg, out, sizeof(out), &n) == WIRE_OK)
		send(fd, out, n, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* last: what became of the stream before, 0 when there was none. */
static enum artifact_kind on_stream(const struct artifact_dirs *dirs, int fd,
				    enum artifact_kind last)
{
	if (last == ARTIFACT_DELIVERED)
		refuse(fd, WIRE_CODE_PROTOCOL, "artifacts come once in a build");
	else if (last == ARTIFACT_LIMIT)
		refuse(fd, WIRE_CODE_LIMIT, "the limit was reached");
	else
		return artifact_unpack(dirs, fd);
	return last;
}

static int loop(const struct artifact_dirs *dirs, int link_fd)
{
	static struct artifact_msg msg; /* too large for comfort on a stack */
	enum artifact_kind last = 0;
	int pass, got;

	while ((got = artifact_recv(link_fd, &msg, &pass, 1)) >= 0) {
		if (got > 0 && msg.kind == ARTIFACT_STREAM && pass >= 0)
			last = on_stream(dirs, pass, last);
		if (pass >= 0)
			close(pass);
		if (got == 0 || msg.kind != ARTIFACT_END)
			continue;
		if (msg.number && last != ARTIFACT_DELIVERED)
			write_empty(dirs, link_fd);
		msg = (struct artifact_msg){ .kind = ARTIFACT_ENDED };
		artifact_send(link_fd, &msg, -1);
	}
	return 0; /* the conduit is gone */
}

static int set_up(const struct supjob *job, struct artifact_dirs *dirs, struct err *e)
{
	struct supjob own = *job;
	struct lockdown_facts facts;

	supjob_wipe(&own);
	if (mkdirat(dirs->build_fd, "artifacts", 0750) < 0 && errno != EEXIST)
		return err_errno(e, "io", "cannot create the directory artifacts");
	dirs->files_fd = openat(dirs->build_fd, "artifacts",
				O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dirs->files_fd < 0)
		return err_errno(e, "io", "cannot open the directory artifacts");
	if (hasher_new(&dirs->hasher, dirs->build_fd, e) < 0)
		return -1;
	return lockdown_enter(LOCKDOWN_ARTIFACT, dirs->build_fd, &facts, e);
}

/* Keep link and directory as 3 and 4, close everything else but standard error. */
static int keep_only(int *link_fd, int *dir_fd)
{
	int link_high = fcntl(*link_fd, F_DUPFD_CLOEXEC, 10);
	int dir_high = fcntl(*dir_fd, F_DUPFD_CLOEXEC, 10);

	if (link_high < 0 || dir_high < 0 || dup3(link_high, 3, O_CLOEXEC) < 0 ||
	    dup3(dir_high, 4, O_CLOEXEC) < 0 || close_range(5, ~0u, 0) < 0)
		return -1;
	*link_fd = 3;
	*dir_fd = 4;
	return 0;
}

static int run(const struct supjob *job, int link_fd, int dir_fd, pid_t parent)
{
	struct artifact_dirs dirs = { .build_id = job->build_id, .limits = job->limits };
	struct artifact_msg note = { .kind = ARTIFACT_FAILED };
	struct err e = { 0 };

	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent ||
	    keep_only(&link_fd, &dir_fd) < 0)
		return 1;
	dirs.build_fd = dir_fd;
	dirs.link_fd = link_fd;
	if (set_up(job, &dirs, &e) < 0) {
		snprintf(note.text, sizeof(note.text), "the artifact process: %s", e.text);
		artifact_send(link_fd, &note, -1);
		return 1;
	}
	return loop(&dirs, link_fd);
}

int artifact_spawn(const struct supjob *job, int dir_fd, int *fd, struct err *e)
{
	pid_t pid, parent = getpid();
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_errno(e, "internal", "no socket pair");
	EVP_sha256(); /* libcrypto reads its configuration now, while files can be opened */
	pid = fork();
	if (pid == 0)
		_exit(run(job, pair[1], dir_fd, parent));
	close(pair[1]);
	if (pid < 0) {
		close(pair[0]);
		return err_errno(e, "internal", "cannot fork the artifact process");
	}
	*fd = pair[0];
	return 0;
}
