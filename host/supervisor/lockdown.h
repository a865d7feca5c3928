/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lockdown.h - what the processes that face the guest may still do once they have opened
 * all they need: no_new_privs, Landlock, seccomp. There is no way back.
 *
 * Landlock (landlock(7)) is used with the best ABI the kernel has; what is relied on for safety is in
 * seccomp as well, so that a kernel without Landlock weakens, but does not open, the sandbox.
 */
#ifndef KILN_LOCKDOWN_H
#define KILN_LOCKDOWN_H

#include "err.h"

enum lockdown_role {
	LOCKDOWN_CONDUIT,  /* reads and writes what it has open; opens nothing, no sockets */
	LOCKDOWN_ARTIFACT, /* the same, and makes, renames and removes files below two directories */
	LOCKDOWN_DIALER,   /* the same as conduit, and AF_INET/AF_INET6 sockets that connect */
	LOCKDOWN_ROLE_COUNT
};

struct lockdown_facts {
	int landlock_abi; /* 0: the kernel has none */
	int seccomp;      /* 0: left out, in a build with sanitizers */
	char words[160];  /* for the operator's log */
};

/*
 * Lock the calling thread and all later ones down. dir_fd: LOCKDOWN_ARTIFACT: the directory
 * below which files may be made; else -1. facts: filled on success. Codes: "internal".
 * Afterwards a forbidden call ends the process (SIGSYS) when no honest code makes it
 * (execve, socket, ptrace, …), and fails with EPERM otherwise.
 */
int lockdown_enter(enum lockdown_role role, int dir_fd, struct lockdown_facts *facts,
		   struct err *e);

#endif
