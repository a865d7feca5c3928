/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uid.h - a uid of its own for each running build, out of the operator's range.
 *
 * A uid is taken by an exclusive flock on <uid_dir>/<uid>.lock for as long as the supervisor
 * lives; the files stay, the locks decide.
 */
#ifndef KILN_UID_H
#define KILN_UID_H

#include "child.h"
#include "supjob.h"

struct uid_lease {
	struct child_id conduit; /* uid and the group that may write the build directory */
	struct child_id others;  /* the same uid, a group that may not */
	uid_t uid;               /* under which the build runs, dropped to or not */
	int lock_fd;             /* -1 without a range */
};

/*
 * Lease a uid when started as root with a range; otherwise everything stays as the
 * supervisor itself. The caller closes lock_fd. Codes: "host" (range used up, uid_dir).
 */
int uid_lease(const struct supjob *job, struct uid_lease *out, struct err *e);

#endif
