/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cleanup.h - locals that clean themselves.
 *
 * _cleanup_fd_ int fd = -1;  _cleanup_free_ char *s = NULL;  Hand-over is visible:
 * return take_fd(&fd);  *out = take_ptr(&s);
 */
#ifndef KILN_CLEANUP_H
#define KILN_CLEANUP_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline void cleanup_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void cleanup_free(void *p)
{
	free(*(void **)p);
}

static inline void cleanup_file(FILE **f)
{
	if (*f)
		fclose(*f);
}

static inline void cleanup_dir(DIR **d)
{
	if (*d)
		closedir(*d);
}

#define _cleanup_fd_ __attribute__((cleanup(cleanup_fd)))
#define _cleanup_free_ __attribute__((cleanup(cleanup_free)))
#define _cleanup_file_ __attribute__((cleanup(cleanup_file)))
#define _cleanup_dir_ __attribute__((cleanup(cleanup_dir)))

static inline int take_fd(int *fd)
{
	int out = *fd;

	*fd = -1;
	return out;
}

#define take_ptr(p) ({ __typeof__(*(p)) take_ptr_out = *(p); *(p) = NULL; take_ptr_out; })

#endif
