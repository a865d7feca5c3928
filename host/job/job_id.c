/* SPDX-License-Identifier: Apache-2.0 */
/* job_id.c - names of builds. They become directory names: job_id_ok guards every lookup. */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "job.h"

#define PREFIX "build_"

int job_new_id(char id[JOB_ID_BYTES], struct err *e)
{
	uint8_t r[16];

	if (getrandom(r, sizeof(r), 0) != (ssize_t)sizeof(r))
		return err_errno(e, "io", "no random bytes");
	r[6] = (uint8_t)((r[6] & 0x0f) | 0x40); /* RFC 9562: version 4 … */
	r[8] = (uint8_t)((r[8] & 0x3f) | 0x80); /* … and its variant */
	snprintf(id, JOB_ID_BYTES, PREFIX "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-"
		 "%02x%02x%02x%02x%02x%02x", r[0], r[1], r[2], r[3], r[4], r[5], r[6], r[7], r[8],
		 r[9], r[10], r[11], r[12], r[13], r[14], r[15]);
	return 0;
}

int job_id_ok(const char *text)
{
	if (strlen(text) != JOB_ID_BYTES - 1 || strncmp(text, PREFIX, strlen(PREFIX)) != 0)
		return 0;
	text += strlen(PREFIX);
	for (int i = 0; i < 36; i++) {
		int dash = i == 8 || i == 13 || i == 18 || i == 23;

		if (dash ? text[i] != '-' : !strchr("0123456789abcdef", text[i]))
			return 0;
	}
	return 1;
}
