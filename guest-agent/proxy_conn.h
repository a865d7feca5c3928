/* SPDX-License-Identifier: Apache-2.0 */
/*
 * proxy_conn.h - one connection of the guest's HTTP proxy: a client on TCP, a bulk stream of kind
 * tcp to the host (PROTOCOL.md, section 5), and what goes between them. Never blocks.
 *
 *	head -> dialing -> opening -> relay -> over
 *	  \________\__________\-----> answer -> drain -> over      (a refusal, in HTTP)
 */
#ifndef KILN_AGENT_PROXY_CONN_H
#define KILN_AGENT_PROXY_CONN_H

#include <stdint.h>

struct proxy_conn;

/* What all connections share; owned by the caller, unchanged while they live. */
struct proxy_link {
	const uint8_t *secret;   /* WIRE_MAX_SECRET bytes */
	uint32_t send_max_bytes; /* of one send() to the host; 0: the default */
	uint32_t vsock_port;     /* 0: the default */
	int epoll_fd;            /* where the connection's descriptors are watched */
};

enum proxy_conn_side { PROXY_CONN_CLIENT = 0, PROXY_CONN_HOST = 1 };

enum proxy_conn_result {
	PROXY_CONN_WAIT = 0, /* nothing to do before the next event or the deadline */
	PROXY_CONN_AGAIN,    /* there is more to do, but it is others' turn */
	PROXY_CONN_OVER      /* free it */
};

/*
 * Take over an accepted, non-blocking client socket. Events of its descriptors carry
 * key | enum proxy_conn_side as epoll data. NULL without memory; client_fd is closed then.
 */
struct proxy_conn *proxy_conn_new(const struct proxy_link *link, int client_fd, uint64_t key,
				  uint64_t now_ms);

/* Epoll reported events (edge-triggered) of a side; proxy_conn_pump must follow. */
void proxy_conn_on_event(struct proxy_conn *c, enum proxy_conn_side side, uint32_t events);

/* Do what can be done without waiting, a bounded amount of it. now_ms is monotonic. */
enum proxy_conn_result proxy_conn_pump(struct proxy_conn *c, uint64_t now_ms);

/* When proxy_conn_pump must be called though nothing happens; UINT64_MAX: never. */
uint64_t proxy_conn_deadline_ms(const struct proxy_conn *c);

/* Close both sides, free. c may be NULL. */
void proxy_conn_free(struct proxy_conn *c);

#endif
