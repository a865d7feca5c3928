/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bulk_dial.c - makes the vsock socket of a bulk stream. Owns nothing; knows no frames.
 *
 * Apart from bulk.c so that tests can put a Unix socket in the place of vsock.
 */
#include "bulk_dial.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

#include "wire_msg.h"

int bulk_dial(uint32_t port, int nonblock, struct fail *f)
{
	struct sockaddr_vm to = { .svm_family = AF_VSOCK, .svm_cid = BULK_HOST_CID,
				  .svm_port = port ? port : WIRE_PORT };
	uint64_t bytes = BULK_BUFFER_BYTES;
	int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC | (nonblock ? SOCK_NONBLOCK : 0), 0);
	int rc;

	if (fd < 0)
		return fail_errno(f, WIRE_CLASS_AGENT, "no vsock socket");
	/* The maximum first: the size is clamped to it. Before connect: the peer learns it there. */
	if (setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_BUFFER_MAX_SIZE, &bytes, sizeof(bytes)) < 0 ||
	    setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_BUFFER_SIZE, &bytes, sizeof(bytes)) < 0) {
		fail_errno(f, WIRE_CLASS_AGENT, "cannot set the vsock buffer");
		close(fd);
		return -1;
	}
	do {
		rc = connect(fd, (struct sockaddr *)&to, sizeof(to));
	} while (rc < 0 && errno == EINTR);
	if (rc < 0 && !(nonblock && errno == EINPROGRESS)) {
		fail_errno(f, WIRE_CLASS_AGENT, "cannot connect to port %u of the host",
			   (unsigned)to.svm_port);
		close(fd);
		return -1;
	}
	return fd;
}
