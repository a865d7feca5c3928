/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uid.c - leases uids. Owns the lock files in uid_dir and nothing else.
 *
 * The uid is one for all processes of a build, the group is not: the group with the uid's
 * number may write the build directory and belongs to the conduit alone, so that a VMM that
 * was taken over cannot rewrite the log through the file system, nor trace the conduit
 * (ptrace(2) wants uid and gid to match).
 */
#include "uid.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

#include "cleanup.h"
#include "fileio.h"

#define NO_GROUP 65534

/* 1: taken, 0: in use by another build. */
static int try_uid(int dir_fd, uid_t uid, int *lock_fd, struct err *e)
{
	_cleanup_fd_ int fd = -1;
	char name[32];

	snprintf(name, sizeof(name), "%u.lock", uid);
	fd = openat(dir_fd, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return err_errno(e, "host", "cannot open the uid lock %s", name);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno == EWOULDBLOCK)
			return 0;
		return err_errno(e, "host", "cannot take the uid lock %s", name);
	}
	*lock_fd = take_fd(&fd);
	return 1;
}

int uid_lease(const struct supjob *job, struct uid_lease *out, struct err *e)
{
	_cleanup_fd_ int dir_fd = -1;

	*out = (struct uid_lease){ .uid = geteuid(), .lock_fd = -1 };
	if (geteuid() != 0 || job->uid_count == 0)
		return 0;
	if (fileio_mkdirs(job->uid_dir, 0700, e) < 0)
		return err_prefix(e, "uid_dir");
	dir_fd = open(job->uid_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir_fd < 0)
		return err_errno(e, "host", "cannot open uid_dir %s", job->uid_dir);
	for (uint32_t i = 0; i < job->uid_count; i++) {
		uid_t uid = job->uid_first + i;
		int n = try_uid(dir_fd, uid, &out->lock_fd, e);

		if (n < 0)
			return -1;
		if (n == 0)
			continue;
		out->uid = uid;
		out->conduit = (struct child_id){ true, uid, uid, 0 };
		out->others = (struct child_id){ true, uid, NO_GROUP, 0 };
		return 0;
	}
	return err_set(e, "host",
		       "all %u uids of uid_range are in use by running builds: make uid_range larger",
		       job->uid_count);
}
