/* SPDX-License-Identifier: Apache-2.0 */
/*
 * api.h - client of kilnd's REST API: over its Unix socket, or over TCP with --url or --host/--port.
 */
#ifndef KILN_API_H
#define KILN_API_H

#include <jansson.h>
#include <stddef.h>

#include "config.h"
#include "err.h"

#define API_BODY_MAX (256u << 20)

struct api;

/* No connection is made yet. Codes: "config" (token_file), "io". */
int api_open(const struct config *cfg, struct api **out, struct err *e);
void api_close(struct api *a);

/*
 * One call. path begins with '/'. body may be NULL. *out: the answer's JSON, new. An
 * answer of 400 and above is an error with the server's own code ("not_found", …) and message.
 * Other codes: "no_daemon" (nobody answers), "io".
 */
int api_call(struct api *a, const char *method, const char *path, const json_t *body, json_t **out,
	     struct err *e);

/* Takes n bytes of an answer; nonzero ends the transfer. */
typedef int (*api_data_fn)(void *arg, const char *data, size_t n);

/* GET path and pass the answer on as it comes, without a limit of time or size. */
int api_stream(struct api *a, const char *path, api_data_fn fn, void *arg, struct err *e);

/*
 * Follow the log of a build (server-sent events) from its start to the verdict: fn gets the log's
 * bytes. *end, new: the data of the last event {build_id, status, class, message, exit_code}. A
 * connection that breaks is made again once, from where it broke.
 */
int api_follow(struct api *a, const char *id, api_data_fn fn, void *arg, json_t **end, struct err *e);

/* Put text into a path, percent-encoded, with '/' kept. -1: it does not fit. */
int api_escape_path(const char *text, char *buf, size_t n);

#endif
