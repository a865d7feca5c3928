/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker.h - the agent's forked children and what they report to PID 1.
 *
 * A worker is a forked copy of the agent that does the risky part of the work (clone,
 * unpack, collect, proxy). It starts as root, opens what needs the session secret, wipes
 * the secret, drops to the build user, works, and reports struct worker_msg packets on a
 * SOCK_SEQPACKET pair. PID 1 treats what it gets as data only.
 */
#ifndef KILN_AGENT_WORKER_H
#define KILN_AGENT_WORKER_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "fail.h"
#include "job.h"

enum worker_kind {
	WORKER_LINE = 1, /* text: one line for the log, without newline; PID 1 puts "kiln: " before it */
	WORKER_NOTE,     /* key, text: goes out as NOTE */
	WORKER_SOURCE,   /* commit, ref, shallow, submodules: goes out as SOURCE */
	WORKER_FAIL,     /* class_, text: the work failed; the last packet */
	WORKER_DONE      /* the work is done; the last packet */
};

struct worker_msg {
	uint32_t kind;
	uint32_t submodules;
	uint8_t class_, shallow;
	char key[65], commit[65], ref[257];
	char text[FAIL_TEXT_BYTES];
};

/* What a worker is given. */
struct worker_env {
	const struct job *job;
	const uint8_t *secret;   /* 32 bytes, of this process's own copy: wipe after OPEN */
	uint32_t send_max_bytes; /* of WELCOME */
	int report_fd;
	int workspace_fd;        /* the workspace directory, O_PATH | O_DIRECTORY */
	uid_t uid;               /* of the build user; 0 when user is root */
	gid_t gid;
	const char *home;
	const char *ca_path;     /* PEM file of JOB's ca_bundle, in a place that steps can read */
	const char *build_system; /* as detected, or "" (collect: default artifacts) */
	uint16_t proxy_port;     /* the agent's HTTP proxy on 127.0.0.1 */
	int listen_fd;           /* proxy only: the bound and listening socket */
	uint32_t vsock_port;     /* of the host, for bulk streams; 0: WIRE_PORT */
	uint64_t steps_began_ns; /* collect: CLOCK_REALTIME when the first step began; 0: not known */
};

/* Send a packet as it is; a full pipe blocks. The others build one and send it. */
void worker_send(const struct worker_env *env, const struct worker_msg *msg);
/* Text is cut to its cap at a UTF-8 boundary; what is not UTF-8 or not printable is replaced. */
void worker_line(const struct worker_env *env, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
void worker_note(const struct worker_env *env, const char *key, const char *value);
/* commit: full hex id; ref: branch, tag or ""; submodules: how many were checked out. */
void worker_source(const struct worker_env *env, const char *commit, const char *ref, int shallow,
		   uint32_t submodules);
/* Report the failure and return the exit status for the child's main. */
int worker_fail(const struct worker_env *env, const struct fail *f);
int worker_done(const struct worker_env *env);

/* Overwrite this process's copy of the session secret. */
void worker_wipe_secret(const struct worker_env *env);

/*
 * setgroups, setresgid, setresuid to env's user, umask 022, no new privileges, not dumpable
 * (so that a process of the same user cannot read the session secret); verifies.
 */
int worker_drop(const struct worker_env *env, struct fail *f);

/* Bodies of the workers; each runs in its own process and returns its exit status. */
int clone_main(const struct worker_env *env);   /* clone.c: repository into the workspace */
int unpack_main(const struct worker_env *env);  /* unpack.c: source stream into the workspace */
int collect_main(const struct worker_env *env); /* collect.c: artifacts out as one tar stream */
int proxy_main(const struct worker_env *env);   /* proxy.c: HTTP proxy; ends only when killed */

#endif
