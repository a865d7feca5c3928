/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conduit_link.c - the conduit's messages with control and with the artifact process, and the
 * order of the end: artifacts first, then log and events, then control hears of it.
 */
#include "conduit_int.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* The VM is gone and every file is final: the last message. */
static void finish_now(struct conduit *c)
{
	struct link_msg msg = { .kind = LINK_FINISHED };
	struct err e;

	if (control_sync(c, &e) < 0)
		conduit_fail(c, &e);
	msg.totals = c->artifact.totals;
	msg.totals.log_bytes = c->log.size_bytes;
	memcpy(msg.commit, c->session.commit, sizeof(msg.commit));
	send(c->control_fd, &msg, sizeof(msg), MSG_NOSIGNAL);
	c->quit = 1;
}

/* The artifacts are final. */
static void settled(struct conduit *c)
{
	struct err e;

	if (c->session.phase == SESSION_SETTLING) {
		conduit_tell(c, LINK_STALLED, 1, "");
		session_settled(&c->session, &c->artifact.totals, &e);
		conduit_tell(c, LINK_STALLED, 0, "");
	}
	if (c->finishing)
		finish_now(c);
}

void link_settle(struct conduit *c)
{
	struct artifact_msg msg = { .kind = ARTIFACT_END };

	if (c->artifact.ended || c->artifact.fd < 0) {
		settled(c);
		return;
	}
	if (c->artifact.ending)
		return;
	c->artifact.ending = 1;
	msg.number = c->session.state >= WIRE_STATE_COLLECTING;
	artifact_send(c->artifact.fd, &msg, -1); /* that it is gone is told by its end of file */
}

static void finish(struct conduit *c)
{
	c->finishing = 1;
	control_drain(c);
	tcp_close_all(c);
	link_settle(c);
}

static void on_message(struct conduit *c, const struct link_msg *msg)
{
	struct err e;
	int rc = 0;

	switch ((enum link_kind)msg->kind) {
	case LINK_CANCEL:
		rc = session_cancel(&c->session, msg, &e);
		break;
	case LINK_LINE:
		rc = logfile_host_line(&c->log, msg->text, &e);
		break;
	case LINK_EVENT:
		rc = events_put_text(&c->events, msg->text, &e);
		break;
	case LINK_FINISH:
		finish(c);
		break;
	default:
		break;
	}
	if (rc < 0)
		conduit_fail(c, &e);
}

void link_on_control(struct conduit *c)
{
	struct link_msg msg;
	ssize_t n = recv(c->control_fd, &msg, sizeof(msg), MSG_DONTWAIT);

	if (n == 0)
		c->quit = 1; /* control is gone: nobody is left to write a result */
	if (n != (ssize_t)sizeof(msg))
		return;
	msg.text[sizeof(msg.text) - 1] = '\0';
	on_message(c, &msg);
}

void link_open_artifacts(struct conduit *c, struct conn *conn)
{
	struct artifact_msg msg = { .kind = ARTIFACT_STREAM };
	struct artifact_link *a = &c->artifact;

	if (a->opens >= 2) {
		conn_end(c, conn, WIRE_REFUSED, WIRE_CODE_LIMIT, "no more artifacts are taken");
		return;
	}
	if (artifact_send(a->fd, &msg, conn->fd) < 0) {
		conn_end(c, conn, WIRE_REFUSED, WIRE_CODE_INTERNAL, "the host cannot take artifacts");
		return;
	}
	a->opens++;
	conn_close(c, conn); /* our copy: the connection lives on in the artifact process */
}

static int on_refused(struct conduit *c, const struct artifact_msg *msg, struct err *e)
{
	return events_put(&c->events, EVENTS_CAPPED, "artifact_refused",
			  json_pack("{s:o, s:s}", "path",
				    events_text((const uint8_t *)msg->path, strlen(msg->path)),
				    "reason", msg->text), e);
}

static int on_delivered(struct conduit *c, const struct artifact_msg *msg, struct err *e)
{
	c->artifact.totals = msg->totals;
	if (msg->totals.refused)
		conduit_line(c, "%u artifacts were refused; the events name them", msg->totals.refused);
	return events_put(&c->events, EVENTS_KEEP, "artifacts",
			  json_pack("{s:I, s:I, s:I, s:s}", "files",
				    (json_int_t)msg->totals.artifacts, "bytes",
				    (json_int_t)msg->totals.artifact_bytes, "refused",
				    (json_int_t)msg->totals.refused, "sha256", msg->sha256), e);
}

static void on_artifact(struct conduit *c, const struct artifact_msg *msg)
{
	struct err e = { 0 };
	int rc = 0;

	switch ((enum artifact_kind)msg->kind) {
	case ARTIFACT_ALIVE:
		conduit_alive(c);
		break;
	case ARTIFACT_REFUSED:
		rc = on_refused(c, msg, &e);
		break;
	case ARTIFACT_DELIVERED:
		rc = on_delivered(c, msg, &e);
		break;
	case ARTIFACT_LIMIT:
		conduit_line(c, "%s", msg->text);
		break;
	case ARTIFACT_BROKEN:
		conduit_line(c, "the artifacts did not arrive: %s", msg->text);
		break;
	case ARTIFACT_FAILED:
		rc = err_set(&e, "io", "%s", msg->text);
		break;
	case ARTIFACT_ENDED:
		c->artifact.ended = 1;
		settled(c);
		break;
	default:
		break;
	}
	if (rc < 0)
		conduit_fail(c, &e);
}

void link_on_artifact(struct conduit *c)
{
	struct artifact_msg msg;
	struct err e;
	int pass = -1;
	int got = artifact_recv(c->artifact.fd, &msg, &pass, 0);

	if (pass >= 0)
		close(pass);
	if (got > 0)
		on_artifact(c, &msg);
	if (got >= 0)
		return;
	close(c->artifact.fd); /* takes it out of epoll, too */
	c->artifact.fd = -1;
	if (c->artifact.ended)
		return;
	err_set(&e, "internal", "the process that unpacks artifacts ended unexpectedly");
	conduit_fail(c, &e);
	if (c->finishing)
		settled(c);
}
