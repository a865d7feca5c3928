/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmdline.h - what the kernel command line tells the agent.
 */
#ifndef KILN_AGENT_CMDLINE_H
#define KILN_AGENT_CMDLINE_H

#include <stdint.h>

/* The N of the word kiln.port=N (PROTOCOL.md, section 1) in the text; absent when there is none. */
uint32_t cmdline_port(const char *text, uint32_t absent);

#endif
