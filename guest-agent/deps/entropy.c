/* SPDX-License-Identifier: Apache-2.0 */
/*
 * entropy.c - the entropy source of mbedTLS in kiln-agent.
 *
 * Owns: mbedtls_hardware_poll(), which mbedTLS calls by name (MBEDTLS_ENTROPY_HARDWARE_ALT). It asks
 * the kernel with getrandom(2). Must not touch: any file; PID 1 starts without /dev.
 */
#include <errno.h>
#include <stddef.h>
#include <sys/random.h>

#include <mbedtls/entropy.h>

int mbedtls_hardware_poll(void *data, unsigned char *output, size_t len, size_t *olen);

/*
 * Fills output with len bytes. Source: mbedtls/entropy.h and getrandom(2). It may be interrupted or
 * give less than asked for above 256 bytes; it blocks only until the kernel has been seeded once.
 */
int mbedtls_hardware_poll(void *data, unsigned char *output, size_t len, size_t *olen)
{
	size_t done = 0;

	(void)data;
	while (done < len) {
		ssize_t n = getrandom(output + done, len - done, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return MBEDTLS_ERR_ENTROPY_SOURCE_FAILED;
		done += (size_t)n;
	}
	*olen = len;
	return 0;
}
