/* SPDX-License-Identifier: Apache-2.0 */
/* clock.h - the two clocks, in milliseconds: monotonic for deadlines, wall for people. */
#ifndef KILN_AGENT_CLOCK_H
#define KILN_AGENT_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline uint64_t clock_ms(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return (uint64_t)t.tv_sec * 1000u + (uint64_t)t.tv_nsec / 1000000u;
}

static inline uint64_t clock_mono_ms(void)
{
	return clock_ms(CLOCK_MONOTONIC);
}

static inline uint64_t clock_wall_ms(void)
{
	return clock_ms(CLOCK_REALTIME);
}

#endif
