/* SPDX-License-Identifier: Apache-2.0 */
/* program.h - finds a program and runs a short-lived one to its end. */
#ifndef KILN_PROGRAM_H
#define KILN_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "child.h"
#include "err.h"

/*
 * The absolute path of a program into out[0..n). name with a slash is taken as it is; else PATH
 * and the sbin directories are searched. Code "not_found", no words about the remedy: the
 * caller adds them.
 */
int program_find(const char *name, char *out, size_t n, struct err *e);

struct program_output {
	char text[8192]; /* the first bytes of standard output and error, NUL-terminated */
	size_t bytes;
	bool timed_out;  /* killed at the deadline; status is then that of the kill */
	int status;      /* wait status */
};

/*
 * Run spec (its stdio is replaced, and a keep of -1 means its output) for at most timeout_ms and collect what it says. Returns -1
 * only when it could not be started; what it did is in out.
 */
int program_run(const struct child_spec *spec, uint64_t timeout_ms, struct program_output *out,
		struct err *e);

#endif
