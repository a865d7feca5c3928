/* SPDX-License-Identifier: Apache-2.0 */
/*
 * output.h - the log: what steps print, and the agent's own lines between it.
 *
 * One pipe serves all steps of a job, so what a process left over prints later has its place
 * in the log too, and nobody can hang the end of a step by keeping the pipe open.
 */
#ifndef KILN_AGENT_OUTPUT_H
#define KILN_AGENT_OUTPUT_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "fail.h"
#include "journal.h"

#define OUTPUT_PIPE_BYTES (1 << 20)
#define OUTPUT_SMALL_BYTES 4096u /* a read of less … */
#define OUTPUT_HOLD_MS 2u        /* … is followed by this pause, in which more may gather */

struct output {
	int read_fd, write_fd;
	int readable;           /* cleared by EAGAIN, set by the loop */
	int mid_line;           /* the log does not end with a newline */
	uint64_t hold_until_ms; /* monotonic; 0: do not wait */
};

int output_init(struct output *o, int epoll_fd, struct fail *f);

/* Let the user of the steps open /dev/stdout and /dev/stderr. */
void output_give(struct output *o, uid_t uid, gid_t gid);

/*
 * A descriptor (close-on-exec) of the pipe's writing end with an open file description of
 * its own: O_NONBLOCK that one step sets must not reach the next. -1 with errno.
 */
int output_writer(const struct output *o, int proc_fd);

/* Bytes that lie in the pipe. */
size_t output_pending(const struct output *o);

/*
 * Read once, at most limit bytes, into one LOG message of at most frame_max bytes. Returns the
 * bytes read, 0 when the pipe is empty (readable is cleared) or the journal is full.
 */
size_t output_read(struct output *o, struct journal *j, size_t frame_max, size_t limit,
		   uint64_t now_ms);

/* A line of the agent's own: "kiln: …\n", at the start of a line. */
void output_say(struct output *o, struct journal *j, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* The same without the prefix. */
void output_line(struct output *o, struct journal *j, const char *text);

#endif
