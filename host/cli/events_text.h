/* SPDX-License-Identifier: Apache-2.0 */
/* events_text.h - events of a build as lines for people. */
#ifndef KILN_EVENTS_TEXT_H
#define KILN_EVENTS_TEXT_H

#include <jansson.h>
#include <stddef.h>

#include "term.h"

/*
 * Heading of step_begin or step_end on stderr. name keeps the step's name from its begin to its end.
 * term NULL: only remember the name.
 */
void events_text_step(const json_t *event, char *name, size_t n, struct term *term);

/* A line for the events that tell how a build gets on; none for the others. */
void events_text_progress(const json_t *event, struct term *term);

#endif
