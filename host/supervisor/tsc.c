/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tsc.c - reads the time stamp counter against CLOCK_MONOTONIC_RAW. Owns nothing.
 *
 * A reading that was interrupted shows as a wide pair of clock readings around it; of
 * several the tightest is taken.
 */
#include "tsc.h"

#include <time.h>
#ifdef __x86_64__
#include <x86intrin.h>
#endif

#define READINGS 16
#define WINDOW_MIN_NS 10000000u

#ifdef __x86_64__
static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC_RAW, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void tsc_mark(struct tsc_mark *m)
{
	uint64_t best_ns = UINT64_MAX;

	for (int i = 0; i < READINGS; i++) {
		uint64_t before_ns = now_ns();
		uint64_t ticks = __rdtsc();
		uint64_t width_ns = now_ns() - before_ns;

		if (width_ns < best_ns) {
			best_ns = width_ns;
			m->ticks = ticks;
			m->ns = before_ns + width_ns / 2;
		}
	}
}
#else
void tsc_mark(struct tsc_mark *m)
{
	m->ticks = m->ns = 0;
}
#endif

uint32_t tsc_khz(const struct tsc_mark *since)
{
	struct tsc_mark now;
	uint64_t ns;

	tsc_mark(&now);
	ns = now.ns - since->ns;
	if (since->ns == 0 || ns < WINDOW_MIN_NS || now.ticks <= since->ticks)
		return 0;
	return (uint32_t)((double)(now.ticks - since->ticks) * 1e6 / (double)ns + 0.5);
}
