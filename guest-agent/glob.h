/* SPDX-License-Identifier: Apache-2.0 */
/*
 * glob.h - the patterns of artifacts (PROTOCOL.md, section 8). Pure: no I/O.
 *
 *	pattern = segment ("/" segment)*      relative to the workspace
 *	?       one character, not "/"
 *	*       any characters, no "/"
 *	**      any characters, "/" too; as a whole segment also no segment at all:
 *	        a/<two stars>/b matches a/b
 *	[...]   one character of a set, not "/"; ranges a-z; ! or ^ first: not in the set
 *	\c      the character c
 *
 * A dot at the start of a name is a character like any other. "./" in front and "/" behind
 * are left out. Characters are UTF-8; a byte that is none counts as one character.
 */
#ifndef KILN_AGENT_GLOB_H
#define KILN_AGENT_GLOB_H

#include <stddef.h>

#define GLOB_MAX_BYTES 1024u /* of a pattern */

struct glob;

enum glob_verdict { /* bits */
	GLOB_MATCH = 1, /* the path matches */
	GLOB_BELOW = 2  /* were it a directory, something below could match */
};

/*
 * Compile a pattern. On failure returns -1 and *why is a word for people ("is empty", …).
 * *out belongs to the caller (glob_free).
 */
int glob_compile(const char *pattern, struct glob **out, const char **why);

/* Judge path[0..n), relative, without "./" or "/" in front. Bits of enum glob_verdict. */
unsigned glob_match(const struct glob *g, const char *path, size_t n);

/* 1 when a segment of the pattern is the name .git spelled out. */
int glob_names_git(const struct glob *g);

/* g may be NULL. */
void glob_free(struct glob *g);

#endif
