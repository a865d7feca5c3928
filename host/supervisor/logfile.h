/* SPDX-License-Identifier: Apache-2.0 */
/*
 * logfile.h - the log of a build: what the guest sent, as it came, with the host's own lines
 * put in at line ends. Guest bytes are not copied: they are queued as views and written with
 * one writev, so whoever owns the buffer calls logfile_flush before it reuses it.
 */
#ifndef KILN_LOGFILE_H
#define KILN_LOGFILE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "err.h"

#define LOGFILE_IOV           128
#define LOGFILE_PENDING_BYTES 16384 /* host lines that wait for a line end; more is dropped */
#define LOGFILE_LINE_BYTES    1200  /* of one host line */

struct logfile { /* read size_bytes, guest_bytes and full; the rest belongs to logfile.c */
	int fd;
	int full;             /* the limit was reached: guest bytes are only counted */
	int mid_line;         /* the last byte queued was not a newline */
	uint64_t limit_bytes; /* of guest bytes kept; 0: none */
	uint64_t kept_bytes;  /* guest bytes in the file */
	uint64_t guest_bytes; /* guest bytes that came */
	uint64_t size_bytes;  /* of the file, what is queued included */
	unsigned iovs;
	struct iovec iov[LOGFILE_IOV];
	size_t pending_bytes;
	char pending[LOGFILE_PENDING_BYTES];
};

/* fd: the open, empty file; stays the caller's. limit_bytes: guest bytes to keep, 0 for all. */
void logfile_init(struct logfile *log, int fd, uint64_t limit_bytes);

/* Queue n bytes of the guest. p must live until the next logfile_flush. Code "io". */
int logfile_append(struct logfile *log, const uint8_t *p, size_t n, struct err *e);

/*
 * A line of the host, "kiln: " and newline are added; control bytes become '?'. It is
 * written at once at the start of a line, else after the guest's next newline. Code "io".
 */
int logfile_host_line(struct logfile *log, const char *text, struct err *e);

/* Write host lines that still wait, ending the guest's unfinished line first. Code "io". */
int logfile_settle(struct logfile *log, struct err *e);

/* Write what is queued. Code "io": the disk is full, … */
int logfile_flush(struct logfile *log, struct err *e);

/* Flush, then fdatasync. Code "io". */
int logfile_sync(struct logfile *log, struct err *e);

#endif
