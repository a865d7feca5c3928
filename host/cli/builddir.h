/* SPDX-License-Identifier: Apache-2.0 */
/*
 * builddir.h - reads the directory of a build (docs/build-directory.md), and talks to the supervisor
 * that writes it.
 */
#ifndef KILN_BUILDDIR_H
#define KILN_BUILDDIR_H

#include <jansson.h>
#include <sys/types.h>

#include "config.h"
#include "err.h"
#include "job.h"

#define BUILDDIR_JSON_MAX (256u << 20) /* manifest.json of a hundred thousand files */
#define BUILDDIR_LOCAL "local.json"    /* written by `kiln run`: the build is not the daemon's */

/*
 * The build that word means: an id, or the beginning of one (with or without "build_") that is
 * unique below dir/builds, or "last" for the newest. Codes: "not_found", "ambiguous", "io".
 */
int builddir_resolve(const struct config *cfg, const char *word, char id[JOB_ID_BYTES],
		     struct err *e);

/* Open dir/builds/<id>; *fd is the caller's. Code "not_found" or "io". */
int builddir_open(const struct config *cfg, const char *id, int *fd, struct err *e);

/* A JSON object of a build, new. Codes: "not_found", "io", "bad_json". */
int builddir_json(int dirfd, const char *name, json_t **out, struct err *e);

/* Ids of all directories below dir/builds as a new array; a missing one is empty. */
json_t *builddir_all(const struct config *cfg);

/*
 * What run.json says of the process. *pid is 0 when it does not live any more (also when its number
 * is another process's by now, or the host was booted since). Code: as builddir_json.
 */
int builddir_process(int dirfd, json_t **run, pid_t *pid, struct err *e);

/*
 * Send one command ("cancel" or "kill") to the supervisor's ctl socket and read its answer.
 * Codes: "not_running" (nobody listens), "supervisor" (it said no), "io".
 */
int builddir_ctl(int dirfd, const char *cmd, struct err *e);

/* SIGKILL the supervisor, its start time checked again under a pidfd. Code "not_running" or "io". */
int builddir_kill(int dirfd, struct err *e);

#endif
