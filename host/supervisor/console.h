/* SPDX-License-Identifier: Apache-2.0 */
/*
 * console.h - the bounded file console.log: what the VMM's serial console and the VMM
 * itself print. A process of its own copies it, so that control reads no byte of the guest
 * while the guest runs.
 */
#ifndef KILN_CONSOLE_H
#define KILN_CONSOLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONSOLE_IN_FD   3 /* of the process: read end of the pipe */
#define CONSOLE_OUT_FD  4 /* of the process: console.log */
#define CONSOLE_HEAD    65536u
#define CONSOLE_TAIL    65536u
#define CONSOLE_TAIL_TEXT 4096u /* of result.json */

struct console_args {
	uint64_t limit_bytes; /* of the file */
};

/*
 * The process: copies until end of file, keeps the head and the newest bytes, and drops what
 * is between. arg: struct console_args. Returns the exit status.
 */
int console_body(void *arg);

/*
 * The last CONSOLE_TAIL_TEXT bytes of console.log below dir_fd as text without control bytes
 * (newline and tab stay, other bytes than ASCII become '?'), into out[0..n), n >= 4097.
 * Missing file: empty. *panicked: "Kernel panic" stands in the last CONSOLE_TAIL bytes;
 * a guest can forge it.
 */
void console_tail(int dir_fd, char *out, size_t n, bool *panicked);

#endif
