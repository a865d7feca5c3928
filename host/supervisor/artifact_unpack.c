/* SPDX-License-Identifier: Apache-2.0 */
/*
 * artifact_unpack.c - takes one artifacts stream apart: frames, sums, tar entries, files.
 *
 * Owns the stream's buffer and everything it has written so far, which is removed when the
 * stream does not end well. Bytes go from the receive buffer to hash and file without a copy:
 * libarchive hands views of it on. Two SHA-256 run over each byte, of the stream and of the
 * file; the first in a thread of its own, so the receive buffer is two that take turns.
 * Must not create anything but artifacts/<index> and the manifest.
 */
#include "artifact_unpack.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "artifact_hash.h"
#include "artifact_manifest.h"
#include "clock.h"
#include "stream.h"

#define BUFFER_BYTES 131072u /* of each of the two */
#define HEX_BYTES    65

struct unpack {
	const struct artifact_dirs *dirs;
	int fd;
	struct stream_parser in;
	struct stream_sum sum;
	EVP_MD_CTX *file_hash;
	struct tarin *tar;
	struct manifest *manifest;
	struct artifact_msg note;   /* to the conduit, composed in place */
	uint64_t alive_ms, total_bytes;
	uint32_t files, refused;    /* files: entries that are not directories */
	uint32_t made;              /* artifacts/0 … made-1 may exist */
	int ended;                  /* END came and agreed */
	uint16_t code;              /* for RESET; 0: the stream cannot be spoken to any more */
	enum artifact_kind failure; /* LIMIT, BROKEN or FAILED; 0: none yet */
	char words[ERR_TEXT_BYTES + 32];
	char path[ARTIFACT_PATH_BYTES + 1], target[ARTIFACT_PATH_BYTES + 1];
	size_t at, end;
	uint8_t *buffer;            /* one of buffers */
	unsigned turn;
	uint64_t mark[2];           /* of the hasher: when a buffer may be written again */
	uint8_t buffers[2][BUFFER_BYTES];
};

static int fail(struct unpack *u, enum artifact_kind kind, uint16_t code, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

static int fail(struct unpack *u, enum artifact_kind kind, uint16_t code, const char *fmt, ...)
{
	va_list ap;

	if (u->failure)
		return -1; /* the first one is the reason */
	u->failure = kind;
	u->code = code;
	va_start(ap, fmt);
	vsnprintf(u->words, sizeof(u->words), fmt, ap);
	va_end(ap);
	return -1;
}

static int fail_err(struct unpack *u, const struct err *e)
{
	return fail(u, ARTIFACT_FAILED, WIRE_CODE_INTERNAL, "%s", e->text);
}

static void tell(struct unpack *u, enum artifact_kind kind)
{
	u->note.kind = kind;
	artifact_send(u->dirs->link_fd, &u->note, -1);
}

static void alive(struct unpack *u)
{
	uint64_t now = clock_mono_ms();

	if (u->alive_ms && now - u->alive_ms < 1000)
		return;
	u->alive_ms = now;
	tell(u, ARTIFACT_ALIVE);
}

/* Wait for bytes; a message of the conduit comes first. -1: there are none to come. */
static int refill(struct unpack *u)
{
	struct pollfd p[] = { { .fd = u->fd, .events = POLLIN },
			      { .fd = u->dirs->link_fd, .events = POLLIN } };
	ssize_t n;

	u->mark[u->turn] = hasher_mark(u->dirs->hasher);
	u->turn ^= 1;
	u->buffer = u->buffers[u->turn];
	hasher_wait(u->dirs->hasher, u->mark[u->turn]);
	for (;;) {
		n = recv(u->fd, u->buffer, BUFFER_BYTES, MSG_DONTWAIT);
		if (n >= 0 || (errno != EAGAIN && errno != EINTR))
			break;
		if (poll(p, 2, -1) < 0 && errno != EINTR)
			return fail(u, ARTIFACT_FAILED, 0, "poll: %s", strerror(errno));
		if (p[1].revents)
			return fail(u, ARTIFACT_BROKEN, WIRE_CODE_PEER,
				    "the build ended, or the stream was opened again");
	}
	if (n <= 0)
		return fail(u, ARTIFACT_BROKEN, 0, "the connection was closed before END");
	u->at = 0;
	u->end = (size_t)n;
	alive(u);
	return 0;
}

static int on_frame(struct unpack *u, const struct wire_msg *msg)
{
	if (msg->type == WIRE_RESET)
		return fail(u, ARTIFACT_BROKEN, 0, "the guest reset the stream: %.*s",
			    (int)(msg->u.error.message.n < 200 ? msg->u.error.message.n : 0),
			    (const char *)msg->u.error.message.p);
	if (msg->type != WIRE_END)
		return fail(u, ARTIFACT_BROKEN, WIRE_CODE_PROTOCOL,
			    "a frame that has no place in an artifacts stream");
	if (stream_sum_check(&u->sum, &msg->u.end, 0) < 0)
		return fail(u, ARTIFACT_BROKEN, WIRE_CODE_PROTOCOL,
			    "END does not agree with the %" PRIu64 " bytes that came", u->sum.bytes);
	u->ended = 1;
	return 0;
}

/* tarin_read: the next bytes of the tar. */
static ssize_t next_bytes(void *ctx, const void **p)
{
	struct unpack *u = ctx;
	struct stream_out out;
	size_t used;

	while (!u->ended && !u->failure) {
		switch (stream_next(&u->in, u->buffer + u->at, u->end - u->at, &used, &out)) {
		case STREAM_MORE:
			u->at += used;
			refill(u);
			break;
		case STREAM_CHUNK:
			u->at += used;
			stream_sum_add(&u->sum, out.chunk.p, out.chunk.n);
			hasher_add(u->dirs->hasher, out.chunk.p, out.chunk.n);
			*p = out.chunk.p;
			return out.chunk.n;
		case STREAM_MSG:
			u->at += used;
			on_frame(u, &out.msg);
			break;
		case STREAM_BAD:
			fail(u, ARTIFACT_BROKEN, WIRE_CODE_PROTOCOL, "%s", wire_strerror(out.why));
			break;
		}
	}
	return u->failure ? -1 : 0;
}

static void hex(const uint8_t raw[32], char out[HEX_BYTES])
{
	static const char digit[] = "0123456789abcdef";

	for (int i = 0; i < 32; i++) {
		out[2 * i] = digit[raw[i] >> 4];
		out[2 * i + 1] = digit[raw[i] & 15];
	}
	out[64] = '\0';
}

static void refuse(struct unpack *u, const char *path, const char *why)
{
	if (u->refused++ >= ARTIFACT_REFUSALS_MAX)
		return;
	snprintf(u->note.path, sizeof(u->note.path), "%s", path ? path : "");
	snprintf(u->note.text, sizeof(u->note.text), "%s", why);
	tell(u, ARTIFACT_REFUSED);
}

/* A hole counts and is hashed like the zeros that it reads as. */
static int hash_zeros(struct unpack *u, uint64_t n)
{
	static const uint8_t zeros[16384];

	for (; n > 0 && !u->failure; n -= n < sizeof(zeros) ? n : sizeof(zeros))
		EVP_DigestUpdate(u->file_hash, zeros, n < sizeof(zeros) ? n : sizeof(zeros));
	return 0;
}

static int write_at(struct unpack *u, int fd, const uint8_t *p, size_t n, uint64_t offset)
{
	while (n > 0) {
		ssize_t put = pwrite(fd, p, n, (off_t)offset);

		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return fail(u, ARTIFACT_FAILED, WIRE_CODE_INTERNAL,
				    "cannot write an artifact: %s", strerror(errno));
		p += put;
		n -= (size_t)put;
		offset += (uint64_t)put;
	}
	return 0;
}

static int copy_data(struct unpack *u, int fd, uint64_t size)
{
	uint64_t at = 0, offset;
	const void *p;
	struct err e;
	size_t n;
	int rc;

	while ((rc = tarin_data(u->tar, &p, &n, &offset, &e)) > 0) {
		if (offset < at || offset > size || n > size - offset)
			return fail(u, ARTIFACT_BROKEN, WIRE_CODE_PROTOCOL,
				    "an entry has more data than it says");
		hash_zeros(u, offset - at);
		EVP_DigestUpdate(u->file_hash, p, n);
		if (write_at(u, fd, p, n, offset) < 0)
			return -1;
		at = offset + n;
	}
	if (rc < 0)
		return fail(u, ARTIFACT_BROKEN, WIRE_CODE_PROTOCOL, "%s", e.text);
	hash_zeros(u, size - at);
	if (at < size && ftruncate(fd, (off_t)size) < 0)
		return fail(u, ARTIFACT_FAILED, WIRE_CODE_INTERNAL, "cannot write an artifact: %s",
			    strerror(errno));
	return 0;
}

static int store_file(struct unpack *u, uint64_t size, char sha256[HEX_BYTES])
{
	uint8_t raw[32];
	char name[16];
	int fd, rc;

	snprintf(name, sizeof(name), "%" PRIu32, manifest_next(u->manifest));
	fd = openat(u->dirs->files_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
		    0600);
	if (fd < 0)
		return fail(u, ARTIFACT_FAILED, WIRE_CODE_INTERNAL, "cannot create artifacts/%s: %s",
			    name, strerror(errno));
	u->made = manifest_next(u->manifest) + 1;
	EVP_DigestInit_ex(u->file_hash, EVP_sha256(), NULL);
	rc = copy_data(u, fd, size);
	if (close(fd) < 0 && rc == 0)
		rc = fail(u, ARTIFACT_FAILED, WIRE_CODE_INTERNAL, "cannot write artifacts/%s: %s",
			  name, strerror(errno));
	EVP_DigestFinal_ex(u->file_hash, raw, NULL);
	hex(raw, sha256);
	return rc;
}

/* Why an entry cannot be taken, or NULL. Fills path, target and, for hard links, the index. */
static const char *judge(struct unpack *u, const struct tarin_entry *x, uint32_t *index)
{
	const char *why;

	if (x->type == TARIN_OTHER)
		return x->word;
	if (!x->path || ((x->type == TARIN_SYMLINK || x->type == TARIN_HARDLINK) && !x->target))
		return "its name is not UTF-8";
	why = tarin_path(x->path, u->path, sizeof(u->path));
	if (why)
		return why;
	why = manifest_judge(u->manifest, u->path, x->type);
	if (why || x->type == TARIN_FILE || x->type == TARIN_DIR)
		return why;
	if (x->type == TARIN_SYMLINK)
		return snprintf(u->target, sizeof(u->target), "%s", x->target) <
			       (int)sizeof(u->target) ? NULL : "its target is longer than 4096 bytes";
	why = tarin_path(x->target, u->target, sizeof(u->target));
	if (!why && manifest_find(u->manifest, u->target, index) != MANIFEST_FILE)
		why = "it is a hard link to a file that did not come before";
	return why;
}

static int check_limits(struct unpack *u, const struct tarin_entry *x)
{
	const struct supjob_limits *limits = &u->dirs->limits;

	if (manifest_next(u->manifest) >= limits->artifact_files)
		return fail(u, ARTIFACT_LIMIT, WIRE_CODE_LIMIT, "the artifacts are more than %" PRIu32
			    " files; none are kept", limits->artifact_files);
	if (x->size > limits->artifact_bytes - u->total_bytes)
		return fail(u, ARTIFACT_LIMIT, WIRE_CODE_LIMIT, "the artifacts are more than %" PRIu64
			    " bytes; none are kept", limits->artifact_bytes);
	return 0;
}

static int on_entry(struct unpack *u, const struct tarin_entry *x)
{
	struct manifest_entry entry = { .tar = x, .path = u->path };
	char sha256[HEX_BYTES];
	uint32_t index = 0;
	const char *why = judge(u, x, &index);
	struct err e;

	if (why && x->type == TARIN_DIR && (u->path[0] == '\0' || manifest_find(u->manifest, u->path,
	    &index) == MANIFEST_DIR))
		return 0; /* a directory once more is no loss */
	if (why) {
		refuse(u, x->path, why);
		return 0;
	}
	if (u->path[0] == '\0')
		return 0; /* the root of the tar */
	if (check_limits(u, x) < 0)
		return -1;
	entry.index = x->type == TARIN_HARDLINK ? index : manifest_next(u->manifest);
	if (x->type == TARIN_SYMLINK || x->type == TARIN_HARDLINK)
		entry.target = u->target;
	if (x->type == TARIN_FILE) {
		if (store_file(u, x->size, sha256) < 0)
			return -1;
		entry.sha256 = sha256;
		u->total_bytes += x->size;
	}
	u->files += x->type != TARIN_DIR;
	return manifest_add(u->manifest, &entry, &e) < 0 ? fail_err(u, &e) : 0;
}

static int read_entries(struct unpack *u)
{
	struct tarin_entry x;
	const void *rest;
	struct err e;
	int rc;

	while ((rc = tarin_next(u->tar, &x, &e)) > 0)
		if (on_entry(u, &x) < 0)
			return -1;
	if (rc < 0)
		return fail(u, ARTIFACT_BROKEN, WIRE_CODE_PROTOCOL, "%s", e.text);
	/* The end of the tar is not the end of the stream: padding and END are to come. */
	while (next_bytes(u, &rest) > 0)
		;
	return u->failure ? -1 : 0;
}

static int send_frame(struct unpack *u, const struct wire_msg *msg)
{
	struct pollfd p = { .fd = u->fd, .events = POLLOUT };
	uint8_t out[1200];
	size_t n, at = 0;

	if (wire_encode(msg, out, sizeof(out), &n) != WIRE_OK)
		return fail(u, ARTIFACT_FAILED, 0, "cannot encode an answer");
	while (at < n) {
		ssize_t put = send(u->fd, out + at, n - at, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (put < 0 && errno != EAGAIN && errno != EINTR)
			return fail(u, ARTIFACT_BROKEN, 0, "the guest is gone");
		if (put < 0 && poll(&p, 1, 10000) == 0)
			return fail(u, ARTIFACT_BROKEN, 0, "the guest does not read");
		at += put > 0 ? (size_t)put : 0;
	}
	return 0;
}

static int deliver(struct unpack *u)
{
	struct wire_msg ack = { .type = WIRE_STREAM_ACK };
	uint8_t raw[32];
	struct err e;

	if (hasher_end(u->dirs->hasher, raw) < 0)
		return fail(u, ARTIFACT_FAILED, WIRE_CODE_INTERNAL, "no SHA-256");
	hex(raw, u->note.sha256);
	ack.u.stream_ack.total_bytes = u->sum.bytes;
	ack.u.stream_ack.entries = manifest_next(u->manifest);
	ack.u.stream_ack.refused = u->refused;
	ack.u.stream_ack.sha256 = (struct wire_bytes){ raw, sizeof(raw) };
	if (manifest_finish(u->manifest, u->note.sha256, u->sum.bytes, u->total_bytes, &e) < 0)
		return fail_err(u, &e);
	u->note.totals = (struct link_totals){ .artifact_bytes = u->total_bytes,
					       .artifacts = u->files, .refused = u->refused };
	/*
	 * STREAM_ACK says what came, RESULT_ACK that it is durable: the guest need not wait for the
	 * disk here. One that is gone by now has delivered all the same.
	 */
	send_frame(u, &ack);
	if (manifest_sync(u->manifest, &e) < 0)
		return fail_err(u, &e);
	tell(u, ARTIFACT_DELIVERED);
	return 0;
}

static int begin(struct unpack *u)
{
	struct wire_msg opened = { .type = WIRE_OPENED };
	struct err e;

	stream_init(&u->in);
	stream_sum_init(&u->sum);
	u->buffer = u->buffers[0];
	u->file_hash = EVP_MD_CTX_new();
	if (!u->file_hash || hasher_begin(u->dirs->hasher) < 0)
		return fail(u, ARTIFACT_FAILED, WIRE_CODE_INTERNAL, "no SHA-256");
	if (tarin_new(&u->tar, next_bytes, u, &e) < 0 ||
	    manifest_new(&u->manifest, u->dirs->build_fd, u->dirs->build_id,
			 u->dirs->limits.artifact_files, &e) < 0)
		return fail_err(u, &e);
	return send_frame(u, &opened);
}

/* Say why, in both directions, and remove what came. */
static void drop(struct unpack *u)
{
	struct wire_msg reset = { .type = WIRE_RESET };
	enum artifact_kind kind = u->failure;
	char name[16];

	for (uint32_t i = 0; i < u->made; i++) {
		snprintf(name, sizeof(name), "%" PRIu32, i);
		unlinkat(u->dirs->files_fd, name, 0); /* gaps: entries that are no files */
	}
	snprintf(u->note.text, sizeof(u->note.text), "%s", u->words);
	tell(u, kind);
	if (u->code == 0)
		return;
	reset.u.error.code = u->code;
	reset.u.error.message = wire_text(u->words);
	send_frame(u, &reset);
}

enum artifact_kind artifact_unpack(const struct artifact_dirs *dirs, int fd)
{
	struct unpack *u = calloc(1, sizeof(*u));
	enum artifact_kind verdict = ARTIFACT_DELIVERED;

	if (!u)
		return ARTIFACT_FAILED;
	u->dirs = dirs;
	u->fd = fd;
	if (begin(u) < 0 || read_entries(u) < 0 || deliver(u) < 0) {
		verdict = u->failure;
		drop(u);
	}
	tarin_free(u->tar);
	manifest_free(u->manifest);
	hasher_wait(u->dirs->hasher, hasher_mark(u->dirs->hasher)); /* it reads our buffers */
	EVP_MD_CTX_free(u->file_hash);
	free(u);
	return verdict;
}
