/* SPDX-License-Identifier: Apache-2.0 */
/* proc.h - facts about processes, from proc(5). */
#ifndef KILN_PROC_H
#define KILN_PROC_H

#include <stdint.h>
#include <sys/types.h>

#define PROC_BOOT_ID_BYTES 37

/* Field 22 of /proc/pid/stat. -1: there is no such process. */
int proc_start_ticks(pid_t pid, unsigned long long *ticks);

/* The id of this boot of the host. -1: cannot be read. */
int proc_boot_id(char out[PROC_BOOT_ID_BYTES]);

/* Resident memory of the process in bytes, 0 when there is none. */
uint64_t proc_memory(pid_t pid);

#endif
