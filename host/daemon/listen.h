/* SPDX-License-Identifier: Apache-2.0 */
/* listen.h - the two sockets kilnd listens on. */
#ifndef KILN_LISTEN_H
#define KILN_LISTEN_H

#include <netdb.h>

#include "config.h"
#include "err.h"

/*
 * The Unix socket: 0660, group kiln when there is one. A socket file nobody answers on is
 * replaced. Codes: "in_use", "config", "io".
 */
int listen_unix(const char *path, int *fd, struct err *e);
/*
 * The address of host and port, see getaddrinfo(3); the caller frees it with freeaddrinfo. Code:
 * "config".
 */
int listen_resolve(const char *host, int64_t port, struct addrinfo **ai, struct err *e);
/* Can only this host reach the address? To be asked before it is listened on. */
int listen_is_loopback(const struct addrinfo *ai);
/*
 * The TCP socket on ai; host and port are for the words of an error. what (may be NULL) gets
 * "127.0.0.1:3000". Codes: "in_use", "io".
 */
int listen_tcp(const struct addrinfo *ai, const char *host, int64_t port, int *fd, char *what,
	       size_t what_cap, struct err *e);
/* The local address of a connection as text without port; "" for a Unix socket. */
void listen_local_name(int fd, char *name, size_t cap);

#endif
