/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bulk.c - frames of a bulk stream over a blocking socket.
 *
 * Owns the socket and a receive buffer. Touches nothing else: where the bytes come from and go
 * to is the caller's business. Bulk data is never copied here: DATA goes out as header plus the
 * caller's bytes in one sendmsg(), and comes in as a view into the receive buffer.
 */
#include "bulk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

/*
 * Without vector instructions: emulated guests do those one helper call each, and hash three times
 * as fast without (measured: 460 against 130 to 220 MiB/s). Elsewhere plain code is fast enough.
 */
#define XXH_VECTOR 0 /* XXH_SCALAR */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "wire.h"

#define DATA_HEAD_BYTES (WIRE_HEADER_BYTES + 4u) /* frame header and the length of data */
#define SMALL_BYTES 2048u                        /* any frame but DATA */
#define IN_BYTES (4u * WIRE_MAX_GUEST_FRAME)     /* several frames of the largest size */
#define LOOK_EVERY_FRAMES 64u                    /* between looks for a RESET while writing */

struct bulk {
	int fd;
	uint32_t data_max;  /* bytes of data in one frame */
	unsigned unlooked;  /* frames sent since the last look */
	uint64_t sent_bytes, received_bytes;
	XXH3_state_t *sent_hash, *received_hash;
	size_t in_at, in_len; /* the bytes not yet decoded are in[in_at..in_len) */
	uint8_t in[IN_BYTES];
};

static int lost(struct bulk *b, struct fail *f);

/* Send head and body, n bytes together, as one frame. */
static int send_frame(struct bulk *b, struct iovec *iov, size_t count, struct fail *f)
{
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = count };

	while (msg.msg_iovlen > 0) {
		ssize_t n = sendmsg(b->fd, &msg, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return lost(b, f);
		while (msg.msg_iovlen > 0 && (size_t)n >= msg.msg_iov->iov_len) {
			n -= (ssize_t)msg.msg_iov->iov_len;
			msg.msg_iov++;
			msg.msg_iovlen--;
		}
		if (msg.msg_iovlen > 0) {
			msg.msg_iov->iov_base = (uint8_t *)msg.msg_iov->iov_base + n;
			msg.msg_iov->iov_len -= (size_t)n;
		}
	}
	return 0;
}

static int send_msg(struct bulk *b, const struct wire_msg *msg, struct fail *f)
{
	uint8_t buf[SMALL_BYTES];
	struct iovec iov = { .iov_base = buf };
	enum wire_status st = wire_encode(msg, buf, sizeof(buf), &iov.iov_len);
	int rc;

	if (st != WIRE_OK)
		return fail_set(f, WIRE_CLASS_AGENT, "a frame of type %u cannot be sent: %s", msg->type,
				wire_strerror(st));
	rc = send_frame(b, &iov, 1, f);
	explicit_bzero(buf, sizeof(buf)); /* OPEN holds the secret */
	return rc;
}

/* What the host's RESET, REFUSED or ERROR says becomes ours; a limit is the build's fault. */
static int fail_said(const struct wire_error *e, const char *what, struct fail *f)
{
	return fail_set(f, e->code == WIRE_CODE_LIMIT ? WIRE_CLASS_USER : WIRE_CLASS_AGENT,
			"the host %s: %.*s", what, (int)e->message.n, (const char *)e->message.p);
}

/*
 * Decode what is buffered. 1: *msg is a frame; 0: more bytes are needed; -1: rubbish. RESET
 * is a failure here, whoever asked.
 */
static int next_buffered(struct bulk *b, struct wire_msg *msg, struct fail *f)
{
	size_t used;
	enum wire_status st = wire_decode(WIRE_FROM_HOST, b->in + b->in_at, b->in_len - b->in_at, msg,
					  &used);

	if (st == WIRE_MORE) {
		if (b->in_at > 0 && b->in_at + used > sizeof(b->in)) {
			memmove(b->in, b->in + b->in_at, b->in_len - b->in_at);
			b->in_len -= b->in_at;
			b->in_at = 0;
		}
		if (used <= sizeof(b->in))
			return 0;
		st = WIRE_ETOOLONG;
	}
	if (st != WIRE_OK) {
		bulk_reset(b, WIRE_CODE_PROTOCOL, wire_strerror(st));
		return fail_set(f, WIRE_CLASS_AGENT, "the host sent a bad frame: %s",
				wire_strerror(st));
	}
	b->in_at += used;
	if (b->in_at == b->in_len)
		b->in_at = b->in_len = 0; /* the view stays: nothing is read before the next call */
	if (msg->type == WIRE_RESET || msg->type == WIRE_ERROR)
		return fail_said(&msg->u.error, "ended the stream", f);
	return 1;
}

/* The connection broke while sending: the reason may be waiting in the receive queue. */
static int lost(struct bulk *b, struct fail *f)
{
	int err = errno;
	struct wire_msg msg;
	ssize_t n;

	n = recv(b->fd, b->in + b->in_len, sizeof(b->in) - b->in_len, MSG_DONTWAIT);
	if (n > 0) {
		b->in_len += (size_t)n;
		if (next_buffered(b, &msg, f) < 0)
			return -1;
	}
	errno = err;
	return fail_errno(f, WIRE_CLASS_AGENT, "the stream to the host broke");
}

/* While we write, the host says nothing but RESET: look for it now and then. */
static int look(struct bulk *b, struct fail *f)
{
	struct wire_msg msg;
	ssize_t n;
	int rc;

	b->unlooked = 0;
	n = recv(b->fd, b->in + b->in_len, sizeof(b->in) - b->in_len, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n == 0)
		errno = ECONNRESET;
	if (n <= 0)
		return fail_errno(f, WIRE_CLASS_AGENT, "the stream to the host broke");
	b->in_len += (size_t)n;
	rc = next_buffered(b, &msg, f);
	if (rc > 0)
		return fail_set(f, WIRE_CLASS_AGENT, "the host sent a frame of type %u out of place",
				msg.type);
	return rc;
}

/* Wait for a whole frame. */
static int await(struct bulk *b, struct wire_msg *msg, struct fail *f)
{
	for (;;) {
		int rc = next_buffered(b, msg, f);
		ssize_t n;

		if (rc != 0)
			return rc < 0 ? -1 : 0;
		n = recv(b->fd, b->in + b->in_len, sizeof(b->in) - b->in_len, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n == 0)
			errno = ECONNRESET; /* end of file is never a message */
		if (n <= 0)
			return fail_errno(f, WIRE_CLASS_AGENT, "the stream from the host broke");
		b->in_len += (size_t)n;
	}
}

static int out_of_place(struct bulk *b, uint16_t type, struct fail *f)
{
	bulk_reset(b, WIRE_CODE_PROTOCOL, "message out of place");
	return fail_set(f, WIRE_CLASS_AGENT, "the host sent a frame of type %u out of place", type);
}

static int say_open(struct bulk *b, const struct bulk_want *want, uint64_t *total_bytes,
		    struct fail *f)
{
	struct wire_msg msg = { .type = WIRE_OPEN };

	msg.u.open = (struct wire_open){ .magic = WIRE_MAGIC, .version = WIRE_VERSION,
					 .kind = want->kind, .port = want->port,
					 .secret = { want->secret, WIRE_MAX_SECRET },
					 .host = wire_text(want->host) };
	if (send_msg(b, &msg, f) < 0 || await(b, &msg, f) < 0)
		return -1;
	if (msg.type == WIRE_REFUSED)
		return fail_said(&msg.u.error, "refused the stream", f);
	if (msg.type != WIRE_OPENED)
		return out_of_place(b, msg.type, f);
	if (total_bytes)
		*total_bytes = msg.u.opened.total_bytes;
	return 0;
}

int bulk_open(int fd, const struct bulk_want *want, struct bulk **out, uint64_t *total_bytes,
	      struct fail *f)
{
	uint32_t frame_max = want->send_max_bytes ? want->send_max_bytes : WIRE_SEND_DEFAULT;
	struct bulk *b = calloc(1, sizeof(*b));

	if (!b) {
		close(fd);
		return fail_errno(f, WIRE_CLASS_AGENT, "no memory for a stream");
	}
	b->fd = fd;
	b->data_max = frame_max - DATA_HEAD_BYTES;
	if (b->data_max > WIRE_MAX_DATA)
		b->data_max = WIRE_MAX_DATA;
	b->sent_hash = XXH3_createState();
	b->received_hash = XXH3_createState();
	if (!b->sent_hash || !b->received_hash) {
		bulk_free(b);
		return fail_set(f, WIRE_CLASS_AGENT, "no memory for a stream");
	}
	XXH3_64bits_reset(b->sent_hash);
	XXH3_64bits_reset(b->received_hash);
	if (say_open(b, want, total_bytes, f) < 0) {
		bulk_free(b);
		return -1;
	}
	*out = b;
	return 0;
}

int bulk_write(struct bulk *b, const void *p, size_t n, struct fail *f)
{
	const uint8_t *at = p;

	while (n > 0) {
		uint32_t part = n < b->data_max ? (uint32_t)n : b->data_max;
		struct wire_msg msg = { .type = WIRE_DATA, .u.data.data = { at, part } };
		uint8_t head[DATA_HEAD_BYTES];
		struct iovec iov[2] = { { .iov_base = head },
					{ .iov_base = (void *)at, .iov_len = part } };

		if (wire_encode_head(&msg, head, sizeof(head), &iov[0].iov_len) != WIRE_OK)
			return fail_set(f, WIRE_CLASS_AGENT, "a DATA frame cannot be made");
		if (send_frame(b, iov, 2, f) < 0 ||
		    (++b->unlooked == LOOK_EVERY_FRAMES && look(b, f) < 0))
			return -1;
		XXH3_64bits_update(b->sent_hash, at, part);
		b->sent_bytes += part;
		at += part;
		n -= part;
	}
	return 0;
}

int bulk_end(struct bulk *b, struct fail *f)
{
	struct wire_msg msg = { .type = WIRE_END,
				.u.end = { b->sent_bytes, XXH3_64bits_digest(b->sent_hash) } };

	return send_msg(b, &msg, f);
}

int bulk_await_ack(struct bulk *b, struct bulk_ack *ack, struct fail *f)
{
	struct wire_msg msg;

	if (await(b, &msg, f) < 0)
		return -1;
	if (msg.type != WIRE_STREAM_ACK)
		return out_of_place(b, msg.type, f);
	if (msg.u.stream_ack.total_bytes != b->sent_bytes)
		return fail_set(f, WIRE_CLASS_AGENT,
				"the host acknowledges %llu bytes of a stream of %llu",
				(unsigned long long)msg.u.stream_ack.total_bytes,
				(unsigned long long)b->sent_bytes);
	*ack = (struct bulk_ack){ msg.u.stream_ack.total_bytes, msg.u.stream_ack.entries,
				  msg.u.stream_ack.refused };
	return 0;
}

int bulk_read(struct bulk *b, const uint8_t **p, size_t *n, struct fail *f)
{
	struct wire_msg msg;

	if (await(b, &msg, f) < 0)
		return -1;
	if (msg.type == WIRE_DATA) {
		*p = msg.u.data.data.p;
		*n = msg.u.data.data.n;
		XXH3_64bits_update(b->received_hash, *p, *n);
		b->received_bytes += *n;
		return 0;
	}
	if (msg.type != WIRE_END)
		return out_of_place(b, msg.type, f);
	if (msg.u.end.total_bytes != b->received_bytes ||
	    msg.u.end.xxh3 != XXH3_64bits_digest(b->received_hash)) {
		bulk_reset(b, WIRE_CODE_PROTOCOL, "the bytes are not those that were sent");
		return fail_set(f, WIRE_CLASS_AGENT, "the stream from the host arrived damaged");
	}
	*n = 0;
	return 0;
}

int bulk_send_ack(struct bulk *b, uint32_t entries, uint32_t refused, struct fail *f)
{
	struct wire_msg msg = { .type = WIRE_STREAM_ACK };

	msg.u.stream_ack.total_bytes = b->received_bytes;
	msg.u.stream_ack.entries = entries;
	msg.u.stream_ack.refused = refused;
	return send_msg(b, &msg, f);
}

void bulk_reset(struct bulk *b, uint16_t code, const char *message)
{
	struct wire_msg msg = { .type = WIRE_RESET };
	uint8_t buf[SMALL_BYTES];
	size_t n;

	msg.u.error.code = code;
	msg.u.error.message = wire_text(message);
	if (wire_encode(&msg, buf, sizeof(buf), &n) == WIRE_OK)
		(void)!send(b->fd, buf, n, MSG_NOSIGNAL | MSG_DONTWAIT);
}

size_t bulk_data_max(const struct bulk *b)
{
	return b->data_max;
}

uint64_t bulk_sent_bytes(const struct bulk *b)
{
	return b->sent_bytes;
}

uint64_t bulk_received_bytes(const struct bulk *b)
{
	return b->received_bytes;
}

void bulk_free(struct bulk *b)
{
	if (!b)
		return;
	close(b->fd);
	XXH3_freeState(b->sent_hash);
	XXH3_freeState(b->received_hash);
	free(b);
}
