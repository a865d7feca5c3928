/* SPDX-License-Identifier: Apache-2.0 */
/*
 * user.c - the build user. Owns the entries it adds to /etc/passwd, /etc/group, /etc/shadow and
 * /etc/sudoers.d of the (thrown away) root; parsing is passwd.c's.
 */
#include "user.h"

#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file.h"
#include "wire_msg.h"

#define SUDOERS_DIR "/etc/sudoers.d"

static const struct passwd_user root_entry = {
	.name = "root", .home = "/root", .shell = "/bin/sh",
};

static int add_group(const char *groups, struct passwd_user *u, struct fail *f)
{
	char line[128];

	if (passwd_has_gid(groups, u->gid))
		return 0;
	snprintf(line, sizeof(line), "%s:x:%u:",
		 passwd_has_group(groups, u->name) ? "kiln-build" : u->name, (unsigned)u->gid);
	return file_add_line("/etc/group", line, 0644, f);
}

static int add_user(const char *users, const char *groups, const char *shell,
		    struct passwd_user *u, struct fail *f)
{
	struct passwd_user other;
	char line[1024];

	snprintf(u->name, sizeof(u->name), "%s",
		 passwd_by_name(users, USER_BUILD_NAME, &other) == 0 ? "kiln-build" : USER_BUILD_NAME);
	u->uid = USER_BUILD_UID;
	u->gid = USER_BUILD_UID;
	snprintf(u->home, sizeof(u->home), "/home/%s", u->name);
	snprintf(u->shell, sizeof(u->shell), "%s", shell);
	snprintf(line, sizeof(line), "%s:x:%u:%u:kiln build:%s:%s", u->name, (unsigned)u->uid,
		 (unsigned)u->gid, u->home, u->shell);
	if (file_add_line("/etc/passwd", line, 0644, f) < 0)
		return -1;
	/* '*': no password fits; sudo asks the account database, which must know the user */
	snprintf(line, sizeof(line), "%s:*:19000:0:99999:7:::", u->name);
	if (file_add_line("/etc/shadow", line, 0640, f) < 0)
		return -1;
	return add_group(groups, u, f);
}

static int make_home(const struct passwd_user *u, struct fail *f)
{
	struct stat st;

	if (u->home[0] != '/' || !u->home[1] || stat(u->home, &st) == 0)
		return 0;
	if (file_mkdirs(u->home, f) < 0)
		return -1;
	if (chown(u->home, u->uid, u->gid) < 0)
		return fail_errno(f, WIRE_CLASS_AGENT, "cannot give %s to %s", u->home, u->name);
	return 0;
}

static int allow_sudo(const struct passwd_user *u, struct fail *f)
{
	char line[160];
	struct stat st;
	int n;

	if (stat(SUDOERS_DIR, &st) < 0 || !S_ISDIR(st.st_mode))
		return 0;
	n = snprintf(line, sizeof(line), "%s ALL=(ALL:ALL) NOPASSWD: ALL\n", u->name);
	return file_write(SUDOERS_DIR "/kiln-build", line, (size_t)n, 0440, f);
}

static int find_or_add(const char *name, const char *shell, const char *users, const char *groups,
		       struct passwd_user *u, struct fail *f)
{
	struct passwd_user root;
	char line[] = "root:x:0:0:root:/root:/bin/sh";

	if (passwd_by_uid(users, 0, &root) < 0) {
		root = root_entry;
		if (file_add_line("/etc/passwd", line, 0644, f) < 0)
			return -1;
	}
	if (strcmp(name, "root") == 0) {
		*u = root;
		return 0;
	}
	if (passwd_by_uid(users, USER_BUILD_UID, u) < 0 &&
	    add_user(users, groups, shell, u, f) < 0)
		return -1;
	return allow_sudo(u, f);
}

int user_make(const char *name, const char *shell, struct user *out, struct fail *f)
{
	char *users, *groups;
	int rc;

	if (file_mkdirs("/etc", f) < 0)
		return -1;
	users = file_read("/etc/passwd");
	groups = file_read("/etc/group");
	memset(out, 0, sizeof(*out));
	if (!users || !groups)
		rc = fail_set(f, WIRE_CLASS_AGENT, "no memory for the user database");
	else
		rc = find_or_add(name, shell, users, groups, &out->entry, f);
	if (rc == 0) {
		out->groups_count = passwd_groups_of(groups, out->entry.name, out->entry.gid,
						     out->groups, USER_GROUPS_MAX);
		rc = make_home(&out->entry, f);
	}
	free(users);
	free(groups);
	return rc;
}

int user_become(const struct user *u)
{
	gid_t groups[USER_GROUPS_MAX + 1];

	groups[0] = u->entry.gid;
	memcpy(groups + 1, u->groups, u->groups_count * sizeof(gid_t));
	if (setgroups(u->groups_count + 1, groups) < 0 ||
	    setresgid(u->entry.gid, u->entry.gid, u->entry.gid) < 0)
		return -1;
	return setresuid(u->entry.uid, u->entry.uid, u->entry.uid);
}
