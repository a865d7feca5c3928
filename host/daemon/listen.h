/* SPDX-License-Identifier: Apache-2.0 */
/* listen.h - the two sockets kilnd listens on. */
#ifndef KILN_LISTEN_H
#define KILN_LISTEN_H

#include "config.h"
#include "err.h"

/*
 * The Unix socket: 0660, group kiln when there is one. A socket file nobody answers on is
 * replaced. Codes: "in_use", "config", "io".
 */
int listen_unix(const char *path, int *fd, struct err *e);
/*
 * The TCP socket. what (may be NULL) gets "127.0.0.1:3000", loopback says whether only this host can
 * reach it. Codes: "in_use", "config", "io".
 */
int listen_tcp(const char *host, int64_t port, int *fd, char *what, size_t what_cap, int *loopback,
	       struct err *e);
/* The local address of a connection as text without port; "" for a Unix socket. */
void listen_local_name(int fd, char *name, size_t cap);

#endif
