/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop.h - the keys under which the event loop knows its descriptors.
 */
#ifndef KILN_AGENT_LOOP_H
#define KILN_AGENT_LOOP_H

enum loop_key {
	LOOP_KEY_LINK = 1, /* the control connection */
	LOOP_KEY_SIGNAL,   /* signalfd: SIGCHLD, and signals that are dropped */
	LOOP_KEY_OUTPUT,   /* the pipe that is stdout and stderr of the steps */
	LOOP_KEY_WORKER,   /* reports of the source or collect worker */
	LOOP_KEY_PROXY,    /* reports of the proxy worker */
	LOOP_KEY_CORE      /* in the outer epoll set: the inner one has something */
};

struct agent;

/* Run until the host has acknowledged the result, then return. */
void loop_run(struct agent *a);

#endif
