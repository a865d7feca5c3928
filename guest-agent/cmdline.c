/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmdline.c - parses the kernel command line. Pure.
 */
#include "cmdline.h"

#include <stdlib.h>
#include <string.h>

#define PORT_WORD "kiln.port="

uint32_t cmdline_port(const char *text, uint32_t absent)
{
	const char *p = text;

	while (*p) {
		size_t n = strcspn(p, " \n");

		if (strncmp(p, PORT_WORD, strlen(PORT_WORD)) == 0) {
			char *end;
			unsigned long v = strtoul(p + strlen(PORT_WORD), &end, 10);

			if (end == p + n && v > 0 && v < UINT32_MAX)
				return (uint32_t)v;
		}
		p += n + (p[n] != '\0');
	}
	return absent;
}
