/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conduit.h - the process of a supervisor that reads what the guest sends.
 *
 * It parses every guest byte and writes the build directory: log, events.jsonl and, by a
 * process of its own that it forks at start (artifact.h), manifest.json and artifacts/.
 */
#ifndef KILN_CONDUIT_H
#define KILN_CONDUIT_H

#include "supjob.h"

#define CONDUIT_TCP_MAX        256u        /* proxied streams at once (PROTOCOL.md, section 5) */
#define CONDUIT_FIRST_FRAME_MS 10000u      /* times job->factor: a connection that said nothing */
#define CONDUIT_IDLE_MS        300000u     /* times job->factor: a stream on which nothing moved */
#define CONDUIT_LINGER_MS      10000u      /* times job->factor: after the last word of a stream */

/*
 * Body of the process; returns its exit status. Control forks, drops the uid and sets limits
 * (at least 1024 descriptors) before. All descriptors are taken over:
 * control_fd, dialer_fd: SOCK_SEQPACKET ends (link.h). listen_fd: a listening stream socket,
 * AF_UNIX or AF_VSOCK, non-blocking or not. dir_fd: the build directory. job->source_fd is
 * read when the job has one. Locks itself down before LINK_READY, which goes out before the
 * first accept. The event `cancel` is written here, at LINK_CANCEL. Ends with 0 after LINK_FINISH
 * was answered, with 1 when control is gone or on a failure of its own (told as LINK_HOST first).
 */
int conduit_run(const struct supjob *job, int control_fd, int dialer_fd, int listen_fd, int dir_fd);

#endif
