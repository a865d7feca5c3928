/* SPDX-License-Identifier: Apache-2.0 */
/* probe.h - what the VMM of this host can do: asked once, in the background, at start. */
#ifndef KILN_PROBE_H
#define KILN_PROBE_H

#include <jansson.h>

#include "daemon.h"

struct probe;

/* Runs `kiln-supervisor --probe`. A probe that fails is an answer too. NULL: no memory. */
struct probe *probe_start(struct kilnd *k);
void probe_free(struct probe *p);
/* The VMM's facts (borrowed), or NULL while there is no answer, or only an error. */
const json_t *probe_facts(const struct probe *p);
/* The sentence of an error; NULL: no error so far. */
const char *probe_error(const struct probe *p);

#endif
