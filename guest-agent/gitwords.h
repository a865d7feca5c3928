/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gitwords.h - libgit2's last error as a sentence that says what to do about it.
 */
#ifndef KILN_AGENT_GITWORDS_H
#define KILN_AGENT_GITWORDS_H

#include "fail.h"

/*
 * Fill f from git_error_last() and the proxy's last refusal, and return -1. what is what was
 * being done ("cannot clone"), url the repository. Class user, except for a full disk and a
 * lack of memory.
 */
int gitwords_fail(struct fail *f, const char *what, const char *url);

/* The same for work inside the guest, where the server has no part. Class agent. */
int gitwords_fail_local(struct fail *f, const char *what);

#endif
