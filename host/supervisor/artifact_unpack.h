/* SPDX-License-Identifier: Apache-2.0 */
/*
 * artifact_unpack.h - one artifacts stream, from OPENED to STREAM_ACK or its end before that.
 * Blocking: it waits for the guest's bytes, and for a word of the conduit meanwhile.
 */
#ifndef KILN_ARTIFACT_UNPACK_H
#define KILN_ARTIFACT_UNPACK_H

#include "artifact.h"

struct artifact_dirs {
	int build_fd;    /* the build directory */
	int files_fd;    /* artifacts/ in it */
	int link_fd;     /* of the artifact process */
	struct hasher *hasher;
	const char *build_id;
	struct supjob_limits limits;
};

/*
 * fd: the stream, stays the caller's. Returns what the conduit was told: ARTIFACT_DELIVERED, or
 * LIMIT, BROKEN or FAILED, when nothing is kept. BROKEN also when a message of the conduit waits.
 */
enum artifact_kind artifact_unpack(const struct artifact_dirs *dirs, int fd);

#endif
