/* SPDX-License-Identifier: Apache-2.0 */
/* builddir.c - opening what lies in a build directory; see openat2(2), flock(2). Owns nothing. */
#include "builddir.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cleanup.h"

static int open_below(int dirfd, const char *path, int flags)
{
	struct open_how how = {
		.flags = (unsigned)(flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK),
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
	};

	return (int)syscall(SYS_openat2, dirfd, path, &how, sizeof(how));
}

int builddir_open(int builds_fd, const char *id, int *dirfd, struct err *e)
{
	int fd = open_below(builds_fd, id, O_RDONLY | O_DIRECTORY);

	if (fd < 0)
		return err_errno(e, errno == ENOENT ? "not_found" : "io",
				 "cannot open the directory of %s", id);
	*dirfd = fd;
	return 0;
}

int builddir_open_file(int dirfd, const char *path, int *out, off_t *size, struct err *e)
{
	_cleanup_fd_ int fd = open_below(dirfd, path, O_RDONLY);
	struct stat st;

	if (fd < 0)
		return err_errno(e, errno == ENOENT ? "not_found" : "io", "cannot open %s", path);
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return err_set(e, "io", "%s is not a regular file", path);
	*size = st.st_size;
	*out = take_fd(&fd);
	return 0;
}

int builddir_locked(int dirfd)
{
	_cleanup_fd_ int fd = open_below(dirfd, "lock", O_RDONLY);

	return fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK;
}
