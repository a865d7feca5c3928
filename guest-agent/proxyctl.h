/* SPDX-License-Identifier: Apache-2.0 */
/*
 * proxyctl.h - PID 1's side of the HTTP proxy: the listening socket and the worker behind it.
 */
#ifndef KILN_AGENT_PROXYCTL_H
#define KILN_AGENT_PROXYCTL_H

#include "fail.h"

struct agent;

/* Listen on 127.0.0.1:WORLD_PROXY_PORT and start the worker. */
int proxyctl_start(struct agent *a, struct fail *f);

/* The worker ended, which it never should: a log line, and once a new one. */
void proxyctl_ended(struct agent *a, int status);

/* Its reports: lines for the log. */
void proxyctl_reports(struct agent *a);

#endif
