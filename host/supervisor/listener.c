/* SPDX-License-Identifier: Apache-2.0 */
/* listener.c - listening sockets and CIDs. Owns nothing; never accepts: the conduit does. */
#include "listener.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vhost.h>
#include <linux/vm_sockets.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "cleanup.h"

#define CID_TRIES 64

int listener_unix(int dir_fd, const char *name, struct child_id id, struct err *e)
{
	_cleanup_fd_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	/* The real path may be longer than the 108 bytes of sun_path (unix(7)). */
	snprintf(a.sun_path, sizeof(a.sun_path), "/proc/self/fd/%d/%s", dir_fd, name);
	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 ||
	    fchmodat(dir_fd, name, 0600, 0) < 0 ||
	    (id.drop && fchownat(dir_fd, name, id.uid, id.gid, AT_SYMLINK_NOFOLLOW) < 0) ||
	    listen(fd, LISTENER_BACKLOG) < 0)
		return err_errno(e, "host", "cannot listen on the socket %s", name);
	return take_fd(&fd);
}

int listener_vsock(uint32_t *port, struct err *e)
{
	_cleanup_fd_ int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_vm a = { .svm_family = AF_VSOCK, .svm_port = VMADDR_PORT_ANY,
				 .svm_cid = VMADDR_CID_ANY };
	socklen_t n = sizeof(a);

	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 ||
	    listen(fd, LISTENER_BACKLOG) < 0 || getsockname(fd, (struct sockaddr *)&a, &n) < 0)
		return err_errno(e, "vmm", "cannot listen on vsock");
	*port = a.svm_port;
	return take_fd(&fd);
}

int listener_claim_cid(int vhost_fd, uint32_t *cid, struct err *e)
{
	for (int i = 0; i < CID_TRIES; i++) {
		uint64_t want;
		uint32_t random;

		if (getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random))
			return err_errno(e, "vmm", "cannot draw a CID");
		want = 1000 + random % 0x7fff0000u;
		if (ioctl(vhost_fd, VHOST_VSOCK_SET_GUEST_CID, &want) == 0) {
			*cid = (uint32_t)want;
			return 0;
		}
		if (errno != EADDRINUSE)
			return err_errno(e, "vmm", "cannot set the CID %llu", (unsigned long long)want);
	}
	return err_set(e, "vmm", "no free vsock CID in %d tries", CID_TRIES);
}
