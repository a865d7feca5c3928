/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tsc.h - the frequency of this machine's time stamp counter. An emulated guest counts with it
 * (QEMU TCG, x86 on x86) and has to be told: its kernel would time an emulated PIT, which
 * fails on a busy host and leaves the guest with a 10 ms clock (kernel-config/README.md).
 */
#ifndef KILN_TSC_H
#define KILN_TSC_H

#include <stdint.h>

struct tsc_mark {
	uint64_t ticks, ns;
};

/* Read counter and clock together. */
void tsc_mark(struct tsc_mark *m);

/*
 * The frequency in kHz, from what passed since the mark; the work between the two is the
 * measuring time, nobody waits. 0: unknown (less than 10 ms passed, or no such counter).
 */
uint32_t tsc_khz(const struct tsc_mark *since);

#endif
