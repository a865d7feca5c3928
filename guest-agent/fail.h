/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fail.h - the error convention of the agent: 0 or -1 with a struct fail filled once, where
 * the fact is known. The class is the one RESULT will carry (enum wire_class).
 */
#ifndef KILN_AGENT_FAIL_H
#define KILN_AGENT_FAIL_H

#include <stdint.h>

#define FAIL_TEXT_BYTES 1025

struct fail {
	uint8_t class_; /* enum wire_class */
	char text[FAIL_TEXT_BYTES];
};

/* Fill f and return -1. */
int fail_set(struct fail *f, uint8_t cls, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* The same with ": " and the text of errno behind it; ENOSPC makes the class disk_full. */
int fail_errno(struct fail *f, uint8_t cls, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#endif
