/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tsc_khz.c - prints the frequency of this machine's time stamp counter in kHz.
 *
 * An emulated guest (QEMU TCG, x86 on x86) counts with the host's own counter, and its
 * kernel finds the frequency by timing an emulated PIT. On a busy host that fails; the
 * guest then has no clock better than 10 ms, and with acpi=on none at all. Told the
 * number (tsc_early_khz=), it measures nothing.
 *
 * The counter is read against CLOCK_MONOTONIC_RAW over 20 ms. A reading that was
 * interrupted shows as a wide pair of clock readings around it; of several the tightest
 * is taken, so the result is good to about 0.01 %.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>
#include <x86intrin.h>

#define WINDOW_NS 20000000
#define READINGS 32

struct reading {
	uint64_t ticks;
	uint64_t ns;
};

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC_RAW, &t);
	return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
}

static struct reading read_both(void)
{
	struct reading best = { 0 };
	uint64_t best_width_ns = UINT64_MAX;

	for (int i = 0; i < READINGS; i++) {
		uint64_t before_ns = now_ns();
		uint64_t ticks = __rdtsc();
		uint64_t width_ns = now_ns() - before_ns;

		if (width_ns < best_width_ns) {
			best_width_ns = width_ns;
			best.ticks = ticks;
			best.ns = before_ns + width_ns / 2;
		}
	}
	return best;
}

int main(void)
{
	struct reading a = read_both();
	struct timespec window = { .tv_nsec = WINDOW_NS };
	struct reading b;

	while (nanosleep(&window, &window) < 0 && errno == EINTR)
		continue;
	b = read_both();
	printf("%llu\n", (unsigned long long)((b.ticks - a.ticks) * 1000000 / (b.ns - a.ns)));
	return 0;
}
