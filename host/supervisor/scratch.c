/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scratch.c - makes the scratch disk with mke2fs. Owns the one file; never mounts it and never
 * reads it again. No journal: the disk lives as long as the VM.
 */
#include "scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/param.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "cleanup.h"
#include "program.h"

#define MKE2FS_TIMEOUT_MS 30000

static int check_room(int dir_fd, uint32_t size_mib, struct err *e)
{
	struct statvfs fs;
	uint64_t free_mib;

	if (fstatvfs(dir_fd, &fs) < 0)
		return err_errno(e, "host", "cannot see how much room the build directory has");
	free_mib = (uint64_t)fs.f_bavail * fs.f_frsize >> 20;
	if (free_mib < MIN(size_mib, SCRATCH_MIN_FREE_MIB))
		return err_set(e, "host",
			       "the disk of the host is full: %" PRIu64 " MiB are free where builds are "
			       "kept, the scratch disk needs %u: remove old builds (kiln clean)",
			       free_mib, MIN(size_mib, SCRATCH_MIN_FREE_MIB));
	return 0;
}

static int make_file(int dir_fd, const char *name, uint32_t size_mib, struct child_id id,
		     struct err *e)
{
	_cleanup_fd_ int fd = openat(dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0)
		return err_errno(e, "host", "cannot create the scratch disk");
	if (ftruncate(fd, (off_t)size_mib << 20) < 0)
		return err_errno(e, "host", "cannot make a scratch disk of %u MiB", size_mib);
	if (id.drop && fchown(fd, id.uid, id.gid) < 0)
		return err_errno(e, "host", "cannot give the scratch disk to uid %u", id.uid);
	return 0;
}

int scratch_make(int dir_fd, const char *name, uint32_t size_mib, struct child_id id,
		 struct err *e)
{
	char path[PATH_MAX], file[NAME_MAX + 1], how[96];
	char quiet[] = "-q", force[] = "-F", type[] = "-t", ext4[] = "ext4", label_opt[] = "-L";
	char label[] = SCRATCH_LABEL, reserved[] = "-m", zero[] = "0", feature[] = "-O";
	char features[] = "^has_journal,^resize_inode", extended[] = "-E";
	char lazy[] = "lazy_itable_init=1,nodiscard,root_owner=0:0";
	char *argv[] = { path, quiet, force, type, ext4, label_opt, label, reserved, zero, feature,
			 features, extended, lazy, file, NULL };
	struct child_spec spec = { .name = "mke2fs", .cwd_fd = dir_fd, .id = id, .argv = argv };
	struct program_output out;

	snprintf(file, sizeof(file), "%s", name);
	if (program_find("mke2fs", path, sizeof(path), NULL) < 0)
		return err_set(e, "host", "mke2fs is missing: install e2fsprogs");
	if (check_room(dir_fd, size_mib, e) < 0 || make_file(dir_fd, name, size_mib, id, e) < 0)
		return -1;
	if (program_run(&spec, MKE2FS_TIMEOUT_MS, &out, e) < 0)
		return -1;
	if (out.status == 0)
		return 0;
	return err_set(e, "host", "mke2fs %s: %.300s",
		       child_status_text(out.status, how, sizeof(how)), out.text);
}
