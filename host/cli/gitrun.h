/* SPDX-License-Identifier: Apache-2.0 */
/* gitrun.h - asks git about a work tree; changes nothing in it. */
#ifndef KILN_GITRUN_H
#define KILN_GITRUN_H

#include <stddef.h>

#include "err.h"

/*
 * Run `git -C dir <args…>` (args: NULL-terminated) and take at most max_bytes of its output, which
 * the caller frees; it has a NUL behind it. No hook, pager or file-system monitor of the repository
 * is run. trust: nonzero to ask also where the tree belongs to somebody else; then only commands
 * may be given that run nothing of its configuration (ls-files without -m, rev-parse).
 * Codes: "no_git" (git is not installed), "git" (it failed; the text has its last line).
 */
int gitrun(const char *dir, int trust, const char *const *args, size_t max_bytes, char **out,
	   size_t *len, struct err *e);

#endif
