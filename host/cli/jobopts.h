/* SPDX-License-Identifier: Apache-2.0 */
/* jobopts.h - options that say what a job is, shared by `kiln run` and `kiln build`. */
#ifndef KILN_JOBOPTS_H
#define KILN_JOBOPTS_H

#include <jansson.h>

#include "err.h"
#include "opt.h"

/* Rows of an option table. */
#define JOBOPTS_ROWS \
	{ "--image", 0, "NAME", "image to build in" }, \
	{ "--vcpus", 0, "N", "virtual CPUs" }, \
	{ "--memory", 0, "MIB", "memory of the VM" }, \
	{ "--disk", 0, "MIB", "scratch disk of the VM" }, \
	{ "--timeout", 0, "S", "seconds for all steps together" }, \
	{ "--branch", 'b', "NAME", "branch to clone" }, \
	{ "--tag", 0, "NAME", "tag to clone" }, \
	{ "--commit", 0, "ID", "commit to build, all its digits" }, \
	{ "--depth", 0, "N", "commits of history, 0: all" }, \
	{ "--submodules", 0, "WORD", "recursive, top or none" }, \
	{ "--step", 's', "COMMAND", "a step; may be repeated (instead of -- command)" }, \
	{ "--env", 'e', "K=V", "variable for the steps; K alone: from here; may be repeated" }, \
	{ "--secret-file", 0, "K=FILE", "secret for the steps: what FILE holds; may be repeated" }, \
	{ "--egress", 0, "MODE", "none, allow, audit or all" }, \
	{ "--allow", 0, "HOST[:PORT]", "host that the build may reach; may be repeated" }, \
	{ "--artifacts", 'a', "GLOB", "what to bring back; may be repeated" }, \
	{ "--exclude", 0, "GLOB", "what not to bring back; may be repeated" }, \
	{ "--workspace", 0, "PATH", "where the source lies in the VM" }, \
	{ "--user", 0, "NAME", "who runs the steps: build or root" }, \
	{ "--label", 0, "TEXT", "label of the build; may be repeated" }

/*
 * The request that these options make: an object like the body of POST /build, without source
 * and repo_url. rest: the words after "--"; one word is shell text, more are quoted so that the
 * shell sees the same words. Code "usage".
 */
int jobopts_request(const struct opt_set *s, json_t **request, struct err *e);

/* Words as shell text, each quoted where it must be. Caller frees; NULL: no memory. */
char *jobopts_shell(char *const *words, int count);

#endif
