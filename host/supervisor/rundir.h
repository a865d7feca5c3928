/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rundir.h - control's files in the build directory: lock, run.json, vm/, console.log and
 * result.json (docs/build-directory.md). log, events, manifest and artifacts are the conduit's.
 */
#ifndef KILN_RUNDIR_H
#define KILN_RUNDIR_H

#include <jansson.h>

#include "link.h"
#include "supjob.h"
#include "uid.h"
#include "verdict.h"

#define RUNDIR_WORDS 4 /* states that people see: starting_vm … collecting_artifacts */

extern const char *const rundir_words[RUNDIR_WORDS];

struct rundir {
	int fd, lock_fd, vm_fd; /* -1: not open */
	bool ours;              /* the lock was free and the directory fresh */
	uid_t owner;            /* of the directory: the caller */
	uint64_t started_at_ms;
};

struct rundir_result {
	const struct verdict *verdict;
	unsigned word;                    /* state in which the build ended, of rundir_words */
	uint64_t word_ms[RUNDIR_WORDS];   /* 0: never entered */
	const char *step_name, *commit;   /* "" unknown */
	struct link_totals totals;
	struct link_result used;
	json_t *vmm;                      /* the vm event's members, or NULL */
	const char *console_tail;
};

/*
 * Open the directory and take its lock. Codes: "not_found", "busy" (another supervisor has
 * the lock), "used" (there is a result already), "io".
 */
int rundir_open(struct rundir *d, const char *path, struct err *e);

/* Write run.json. vmm_pid 0: not started yet. Code "io". */
int rundir_write_run(const struct rundir *d, const struct supjob *job, uid_t uid, pid_t vmm_pid,
		     struct err *e);

/* Let the conduit's group make files, and make vm/ for the VM's processes. Code "host". */
int rundir_share(struct rundir *d, const struct uid_lease *ids, struct err *e);

/* Remove vm/ and ctl: the VM's processes have ended. Then write result.json, durably. Code "io". */
int rundir_write_result(const struct rundir *d, const struct supjob *job,
			const struct rundir_result *r, struct err *e);

/* Remove vm/ and ctl if the directory is ours, close everything; the lock goes last. */
void rundir_close(struct rundir *d);

#endif
