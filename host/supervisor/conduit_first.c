/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conduit_first.c - accepts connections and reads their first frame, which says what they
 * are: HELLO makes the control connection, OPEN with the secret a stream.
 *
 * Reads no byte beyond that first frame, so that a connection can be handed to another
 * process as it is. Trusts nothing: whoever gets here may be any process of the guest.
 */
#include "conduit_int.h"

#include <errno.h>
#include <linux/vm_sockets.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ACCEPT_BATCH 64

/* AF_VSOCK is one port space for all VMs of the host: only our VM's CID counts. */
static int peer_is_ours(const struct conduit *c, const struct sockaddr_storage *from)
{
	struct sockaddr_vm vm;

	if (c->job->guest_cid == 0)
		return 1;
	memcpy(&vm, from, sizeof(vm));
	return vm.svm_family == AF_VSOCK && vm.svm_cid == c->job->guest_cid;
}

void first_accept(struct conduit *c)
{
	for (int i = 0; i < ACCEPT_BATCH; i++) {
		struct sockaddr_storage from = { 0 };
		socklen_t n = sizeof(from);
		int fd = accept4(c->listen_fd, (struct sockaddr *)&from, &n,
				 SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd < 0)
			return; /* no more, or the peer is gone again; epoll tells of the next */
		if (!peer_is_ours(c, &from))
			close(fd);
		else
			conn_add(c, fd);
	}
}

static void on_hello(struct conduit *c, struct conn *conn, const struct wire_hello *hello)
{
	struct err e = { 0 };
	uint16_t code;

	if (session_hello(&c->session, hello, &code, &e) == 0) {
		control_adopt(c, conn, hello);
		return;
	}
	conn_end(c, conn, WIRE_ERROR, code, e.text);
	if (strcmp(e.code, "broken") == 0)
		session_fail(&c->session, LINK_BROKEN, e.text);
}

static void on_open(struct conduit *c, struct conn *conn, const struct wire_open *open)
{
	if (!session_secret_ok(&c->session, open->secret)) {
		conn_end(c, conn, WIRE_REFUSED, WIRE_CODE_SECRET, "wrong secret");
		return;
	}
	if (open->version != WIRE_VERSION) {
		conn_end(c, conn, WIRE_REFUSED, WIRE_CODE_VERSION, "this host speaks version 1");
		return;
	}
	if (c->session.phase != SESSION_OPEN || c->finishing) {
		conn_end(c, conn, WIRE_REFUSED, WIRE_CODE_POLICY, "the build is over");
		return;
	}
	conduit_alive(c);
	switch ((enum wire_kind)open->kind) {
	case WIRE_KIND_ARTIFACTS:
		link_open_artifacts(c, conn);
		return;
	case WIRE_KIND_SOURCE:
		source_open(c, conn);
		return;
	case WIRE_KIND_TCP:
		tcp_open(c, conn, open);
		return;
	}
}

static void rubbish(struct conduit *c, struct conn *conn, const char *text)
{
	conn_end(c, conn, WIRE_ERROR, WIRE_CODE_PROTOCOL, text);
}

void first_on_input(struct conduit *c, struct conn *conn)
{
	uint8_t buf[STREAM_HEAD_MAX];
	struct stream_out out;
	size_t used;
	ssize_t n;

	for (;;) {
		n = recv(conn->fd, buf, stream_want(&conn->in), MSG_DONTWAIT);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0) {
			conn_close(c, conn);
			return;
		}
		switch (stream_next(&conn->in, buf, (size_t)n, &used, &out)) {
		case STREAM_MORE:
			continue;
		case STREAM_CHUNK:
			rubbish(c, conn, "DATA before OPEN");
			return;
		case STREAM_BAD:
			rubbish(c, conn, wire_strerror(out.why));
			return;
		case STREAM_MSG:
			if (out.msg.type == WIRE_HELLO)
				on_hello(c, conn, &out.msg.u.hello);
			else if (out.msg.type == WIRE_OPEN)
				on_open(c, conn, &out.msg.u.open);
			else
				rubbish(c, conn, "the first frame is HELLO or OPEN");
			return;
		}
	}
}
