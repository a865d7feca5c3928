/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conduit_int.h - what the files of the conduit share, and nobody else includes.
 *
 * Connections live in one table and are named by index and generation in epoll; a closed
 * slot's generation changes, so an event that was fetched before finds nobody. A function
 * that may close its connection says so in its name or its comment.
 */
#ifndef KILN_CONDUIT_INT_H
#define KILN_CONDUIT_INT_H

#include <stdint.h>
#include <sys/epoll.h>

#include "artifact.h"
#include "conduit.h"
#include "conduit_session.h"
#include "stream.h"

#define CONN_MAX           320u     /* control, 256 tcp, and room for those not yet known */
#define CONDUIT_RX_BYTES   524288u  /* receive buffer of the control connection */
#define CONDUIT_PIECE      16384u   /* bytes of a tcp stream in hand, each direction */
#define CONDUIT_QUEUE_MAX  2097152u /* unsent bytes for the guest, JOB included; more: it does not read */
#define CONDUIT_REFUSALS_MAX 64u    /* different host and port that the log names as refused */
#define CONDUIT_DIALS_MAX  64u      /* requests the dialer has at once */

enum conn_kind { CONN_FREE, CONN_NEW, CONN_CONTROL, CONN_SOURCE, CONN_TCP, CONN_CLOSING };

enum ref_kind { REF_LISTEN, REF_LINK, REF_DIALER, REF_ARTIFACT, REF_CONN, REF_INET };

struct tcp; /* conduit_tcp.c */

struct conn {
	enum conn_kind kind;
	uint32_t gen;
	int fd;
	uint32_t interest;        /* as epoll has it; 0: not registered */
	struct stream_parser in;
	uint8_t *out;             /* what the guest's socket did not take yet */
	size_t out_at, out_end;
	struct tcp *tcp;
	uint64_t source_at;       /* CONN_SOURCE: bytes of the file that went out */
	int source_end;           /* … END too */
};

struct conduit {
	const struct supjob *job;
	int epoll_fd, control_fd, dialer_fd, listen_fd;
	struct session session;
	struct logfile log;
	struct events events;
	struct conn conns[CONN_MAX];
	uint64_t deadline_ms[CONN_MAX]; /* monotonic; 0: none. Beside conns, as each turn reads all */
	struct conn *control;           /* NULL while there is none */
	uint8_t *rx;                    /* of the control connection */
	size_t rx_at, rx_end;
	uint64_t now_ms, alive_ms;
	unsigned tcps, dials, disk_slow, refusals;
	uint64_t refusal[CONDUIT_REFUSALS_MAX];
	struct conn *source;            /* the open source stream, or NULL */
	struct stream_sum source_sum;
	int source_served, finishing, quit;
	struct artifact_link artifact;
	uint8_t scratch[STREAM_DATA_HEAD + WIRE_MAX_DATA];
};

/* conduit.c */
void conduit_ref(struct epoll_event *ev, uint32_t events, enum ref_kind kind, const struct conduit *c,
		 const struct conn *conn);
void conduit_alive(struct conduit *c); /* bytes of the agent came */
void conduit_tell(struct conduit *c, enum link_kind kind, uint64_t number, const char *text);
void conduit_fail(struct conduit *c, const struct err *e); /* class host */
void conduit_line(struct conduit *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* conduit_conn.c: the table */
struct conn *conn_add(struct conduit *c, int fd); /* takes fd over; NULL: no room, fd is closed */
void conn_close(struct conduit *c, struct conn *conn);
void conn_interest(struct conduit *c, struct conn *conn, uint32_t events);
void conn_deadline(struct conduit *c, const struct conn *conn, uint64_t ms); /* from now, times factor */
uint64_t conn_next_deadline(const struct conduit *c);
/* Send or queue. -1: the guest is gone or does not read; the caller closes the connection. */
int conn_send(struct conduit *c, struct conn *conn, const void *p, size_t n);
int conn_send_msg(struct conduit *c, struct conn *conn, const struct wire_msg *msg);
int conn_flush(struct conn *conn);
size_t conn_queued(const struct conn *conn);
/* Last word (ERROR, REFUSED, RESET with code and text), then close as soon as it is out. */
void conn_end(struct conduit *c, struct conn *conn, uint16_t type, uint16_t code, const char *text);

/* conduit_first.c: connections that have not said yet what they are */
void first_accept(struct conduit *c);
void first_on_input(struct conduit *c, struct conn *conn);

/* conduit_control.c: the control connection */
void control_adopt(struct conduit *c, struct conn *conn, const struct wire_hello *hello);
void control_on_event(struct conduit *c, uint32_t events);
void control_drain(struct conduit *c); /* what is left in the socket when the VM is gone */
int control_sync(struct conduit *c, struct err *e);
struct session_io control_io(struct conduit *c);

/* conduit_link.c: messages of control and of the artifact process */
void link_on_control(struct conduit *c);
void link_on_artifact(struct conduit *c);
void link_settle(struct conduit *c); /* RESULT came, or the VM is gone: end the artifacts */
void link_open_artifacts(struct conduit *c, struct conn *conn); /* closes conn */

/* conduit_source.c */
void source_open(struct conduit *c, struct conn *conn);
void source_on_event(struct conduit *c, struct conn *conn, uint32_t events);

/* conduit_tcp.c */
void tcp_open(struct conduit *c, struct conn *conn, const struct wire_open *open);
void tcp_on_guest(struct conduit *c, struct conn *conn, uint32_t events);
void tcp_on_inet(struct conduit *c, struct conn *conn, uint32_t events);
void tcp_on_dialer(struct conduit *c);
void tcp_close_all(struct conduit *c);
void tcp_drop(struct conduit *c, struct conn *conn, const char *error); /* event, inet side; not conn */

#endif
