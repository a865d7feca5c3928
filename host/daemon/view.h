/* SPDX-License-Identifier: Apache-2.0 */
/* view.h - a build as the API shows it. */
#ifndef KILN_VIEW_H
#define KILN_VIEW_H

#include <jansson.h>

#include "builds.h"

/* "2024-01-15T10:30:00.000Z" */
#define VIEW_TIME_BYTES 32
void view_time(uint64_t wall_ms, char out[VIEW_TIME_BYTES]);

/* The whole build. live: what is newer than the row, or NULL. New, or NULL without memory. */
json_t *view_build(const struct record *r, const struct build *live);
/* Its line in a list. */
json_t *view_summary(const struct record *r);
/* What a follower gets at the end: status, class, message, exit_code. */
json_t *view_end(const struct record *r);

#endif
