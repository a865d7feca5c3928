/* SPDX-License-Identifier: Apache-2.0 */
/*
 * user.h - the user that clones and builds: found in the image or added to it.
 */
#ifndef KILN_AGENT_USER_H
#define KILN_AGENT_USER_H

#include <stddef.h>
#include <sys/types.h>

#include "fail.h"
#include "passwd.h"

#define USER_BUILD_NAME "build"
#define USER_BUILD_UID 1000u
#define USER_GROUPS_MAX 32u

struct user {
	struct passwd_user entry;
	gid_t groups[USER_GROUPS_MAX]; /* besides entry.gid */
	size_t groups_count;
};

/*
 * name: "build" (the user of uid 1000, whatever the image calls it, else one is added to
 * passwd, group and shadow) or "root". Makes its home; where the image has /etc/sudoers.d it
 * may use sudo without a password. shell is for an entry that is added.
 */
int user_make(const char *name, const char *shell, struct user *out, struct fail *f);

/* Become the user for good: groups, gid, uid. 0, or -1 with errno. */
int user_become(const struct user *u);

#endif
