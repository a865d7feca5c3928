/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fatal.h - the ways PID 1 ends: a line on the console, then a reboot. It never exits,
 * because the kernel panics when PID 1 does.
 */
#ifndef KILN_AGENT_FATAL_H
#define KILN_AGENT_FATAL_H

/* Handlers for the signals of a program error. Those that a process sent are ignored. */
void fatal_init(void);

/* Drop what fatal_init set; for forked children. Also unblocks every signal. */
void fatal_reset(void);

/* One line on the console, nothing else. */
void fatal_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* The same, then reboot. */
void fatal_die(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));

/* reboot(RB_AUTOBOOT): the normal end of an agent. */
void fatal_reboot(void) __attribute__((noreturn));

#endif
