/* SPDX-License-Identifier: Apache-2.0 */
/*
 * detect.h - the build system found from the source: its command, and where its results lie.
 */
#ifndef KILN_AGENT_DETECT_H
#define KILN_AGENT_DETECT_H

struct detect_system {
	const char *name;       /* "cargo", "make", "cmake", "meson", "npm", "go" */
	const char *marker;     /* the file at the top of the workspace that shows it */
	const char *run;        /* shell text of the one step */
	const char *tool;       /* the program it cannot do without */
	const char *also[4];    /* other names of the marker, NULL-terminated */
	const char *artifacts[8]; /* default globs, NULL-terminated */
	const char *exclude[12];  /* globs left out of them, NULL-terminated */
	/*
	 * 1: of what the globs match only the executables and libraries that the build made:
	 * files and links changed since the first step began that are executable or whose
	 * name ends in .a, .so or .so.<digits and dots>.
	 */
	int products_only;
};

/*
 * Look for the markers in the order of names (NULL-terminated, or NULL for the default order)
 * in the directory dirfd. A link counts by its name, it is not followed. NULL when none is there.
 */
const struct detect_system *detect_find(int dirfd, const char *const *names);

/* The record of a name, or NULL. */
const struct detect_system *detect_by_name(const char *name);

#endif
