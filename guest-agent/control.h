/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control.h - what the host's messages on the control connection do.
 */
#ifndef KILN_AGENT_CONTROL_H
#define KILN_AGENT_CONTROL_H

struct agent;

/* Read the connection to its end for now and act on every frame. */
void control_read(struct agent *a);

/* Dial when it is time, beat when it is time, send what waits. */
void control_tick(struct agent *a);

#endif
