/* SPDX-License-Identifier: Apache-2.0 */
/*
 * artifact.h - the process that unpacks the artifacts stream.
 *
 * The conduit forks it at start and hands it the connection of an accepted OPEN; from then on
 * this process alone talks on it: DATA, END, STREAM_ACK (PROTOCOL.md, section 5). It writes
 * artifacts/<index> and manifest.json, and tells the conduit what happened. libarchive lives
 * here only, so a hole in a tar parser cannot reach the log, the secret or the job.
 */
#ifndef KILN_ARTIFACT_H
#define KILN_ARTIFACT_H

#include <stdint.h>
#include <sys/types.h>

#include "err.h"
#include "link.h"
#include "supjob.h"

#define ARTIFACT_PATH_BYTES   4096u /* PROTOCOL.md, section 6 */
#define ARTIFACT_REFUSALS_MAX 1000u /* refused entries that are named one by one; the rest is counted */

enum artifact_kind {
	/* conduit -> artifact process */
	ARTIFACT_STREAM = 1, /* a descriptor rides along: a stream to answer; replaces one that runs */
	ARTIFACT_END,        /* drop what runs; number 1: write an empty manifest if there is none */
	/* artifact process -> conduit */
	ARTIFACT_ALIVE,      /* bytes came from the guest; at most one a second */
	ARTIFACT_REFUSED,    /* one entry: path and text (the reason) */
	ARTIFACT_DELIVERED,  /* STREAM_ACK was sent, then manifest.json made durable: totals, sha256 */
	ARTIFACT_LIMIT,      /* text: the limit that was reached; the stream was reset, nothing is kept */
	ARTIFACT_BROKEN,     /* text: the stream ended otherwise; nothing is kept, it may come again */
	ARTIFACT_FAILED,     /* text: the host's own failure (disk full, …) */
	ARTIFACT_ENDED,      /* answer to ARTIFACT_END */
	ARTIFACT_KIND_COUNT
};

struct artifact_msg {
	uint32_t kind;
	uint32_t number;
	struct link_totals totals; /* log_bytes unused; artifacts: entries that are not directories */
	char sha256[65];           /* of the tar, in hex */
	char text[ERR_TEXT_BYTES + 32];
	char path[ARTIFACT_PATH_BYTES + 1];
};

struct artifact_link { /* the conduit's side */
	int fd;                   /* SOCK_SEQPACKET */
	unsigned opens;           /* streams handed over */
	int ending, ended;
	struct link_totals totals;
};

/*
 * Fork the process. dir_fd: the build directory, in which artifacts/ is made. *fd gets the
 * conduit's end. The child keeps nothing but its end, the directory and standard error, wipes
 * the job's secrets, and ends when the conduit does. Codes: "io", "internal".
 */
int artifact_spawn(const struct supjob *job, int dir_fd, int *fd, struct err *e);

/* Send msg, with descriptor pass (or -1) riding along. Returns 0, or -1 with errno. */
int artifact_send(int fd, const struct artifact_msg *msg, int pass);

/*
 * Receive one message, waiting only if wait is set. 1: *msg is filled, texts are terminated, *pass
 * is a descriptor or -1; 0: nothing there; -1: the other side is gone.
 */
int artifact_recv(int fd, struct artifact_msg *msg, int *pass, int wait);

#endif
