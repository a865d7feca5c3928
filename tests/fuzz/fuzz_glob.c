/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_glob.c - pattern and path from one input, cut at the first newline. What must hold: no
 * crash, and whatever matches lies below directories that are said to be worth entering.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "glob.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	const uint8_t *cut = memchr(data, '\n', n);
	size_t pattern_bytes = cut ? (size_t)(cut - data) : n;
	const char *path = (const char *)data + pattern_bytes + (cut != NULL);
	size_t path_bytes = n - pattern_bytes - (cut != NULL);
	char *pattern = malloc(pattern_bytes + 1);
	struct glob *g;
	const char *why;

	memcpy(pattern, data, pattern_bytes);
	pattern[pattern_bytes] = '\0';
	if (glob_compile(pattern, &g, &why) == 0) {
		if (glob_match(g, path, path_bytes) & GLOB_MATCH) {
			for (size_t i = 1; i < path_bytes; i++) {
				if (path[i] == '/' && !(glob_match(g, path, i) & GLOB_BELOW))
					abort();
			}
		}
		glob_free(g);
	}
	free(pattern);
	return 0;
}
