/* SPDX-License-Identifier: Apache-2.0 */
/* feed.c - a main for fuzz targets where there is no libFuzzer: runs each file once. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		uint8_t *buf = malloc(1 << 20);
		FILE *f = fopen(argv[i], "rb");
		size_t n;

		if (!f || !buf)
			return 1;
		n = fread(buf, 1, 1 << 20, f);
		fclose(f);
		LLVMFuzzerTestOneInput(buf, n);
		free(buf);
	}
	return 0;
}
