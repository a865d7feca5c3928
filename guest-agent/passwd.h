/* SPDX-License-Identifier: Apache-2.0 */
/*
 * passwd.h - reading and extending /etc/passwd and /etc/group as text. No NSS: the agent is
 * static, and images may have anything or nothing there. passwd(5), group(5).
 */
#ifndef KILN_AGENT_PASSWD_H
#define KILN_AGENT_PASSWD_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define PASSWD_NAME_BYTES 65
#define PASSWD_PATH_BYTES 257

struct passwd_user {
	char name[PASSWD_NAME_BYTES];
	uid_t uid;
	gid_t gid;
	char home[PASSWD_PATH_BYTES], shell[PASSWD_PATH_BYTES];
};

/*
 * Find a user in the text of /etc/passwd. Lines that are no entry (too few fields, numbers that
 * are none, fields too long) are passed over. 0 when found, -1 when not.
 */
int passwd_by_uid(const char *text, uid_t uid, struct passwd_user *out);
int passwd_by_name(const char *text, const char *name, struct passwd_user *out);

/* Is there a group of this name, of this number? 1 or 0. */
int passwd_has_group(const char *text, const char *name);
int passwd_has_gid(const char *text, gid_t gid);

/*
 * The groups in the text of /etc/group that list the user, without gid itself: at most cap go
 * into out. Returns how many.
 */
size_t passwd_groups_of(const char *text, const char *user, gid_t gid, gid_t *out, size_t cap);

#endif
