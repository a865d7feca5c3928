/* SPDX-License-Identifier: Apache-2.0 */
/* range.h - one byte range of a Range header (RFC 9110, section 14). */
#ifndef KILN_RANGE_H
#define KILN_RANGE_H

#include <stdint.h>

enum range_kind {
	RANGE_ALL,           /* no range, or one to be ignored: answer 200 */
	RANGE_PART,          /* answer 206 with [first, first + count) */
	RANGE_UNSATISFIABLE  /* answer 416 */
};

/*
 * header: the value of Range, or NULL. size: bytes there are. A header that is malformed, of
 * another unit or with several ranges is ignored, as the RFC allows.
 */
enum range_kind range_parse(const char *header, uint64_t size, uint64_t *first, uint64_t *count);

#endif
