/* SPDX-License-Identifier: Apache-2.0 */
/*
 * text.h - strings fit for the wire: UTF-8 without NUL, cut to a cap.
 */
#ifndef KILN_AGENT_TEXT_H
#define KILN_AGENT_TEXT_H

#include <stddef.h>

/*
 * Copy src[0..n) (up to its first NUL) into dst, which has room for cap bytes with the NUL.
 * What is too long is cut between two characters; bytes that are no UTF-8 (RFC 3629) become
 * '?', control characters other than newline and tab too. Returns the length in dst.
 */
size_t text_copy(char *dst, size_t cap, const char *src, size_t n);

#endif
