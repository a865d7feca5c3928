/* SPDX-License-Identifier: Apache-2.0 */
/* apilog.h - a build's log with its headings, from the REST API into a logview. */
#ifndef KILN_APILOG_H
#define KILN_APILOG_H

#include "api.h"
#include "logview.h"

/*
 * Show the log of a build: what there is, or with follow until its verdict. *build, new, is the
 * answer of GET /build/:id at the end, with class, message, exit_code, signal and step as
 * result.json has them. Codes: those of api_call.
 */
int apilog_show(struct api *a, const char *id, int follow, struct logview *view, json_t **build,
		struct err *e);

#endif
