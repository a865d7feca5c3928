/* SPDX-License-Identifier: Apache-2.0 */
/* follow.h - who follows a log while it grows, as server-sent events. */
#ifndef KILN_FOLLOW_H
#define KILN_FOLLOW_H

#include <stdint.h>

#include "daemon.h"
#include "record.h"

struct request;
struct follows;

struct follows *follows_new(struct kilnd *k);
void follows_free(struct follows *fs);

/*
 * Answer r with the log of a build from byte `from` on, as events. rec: its row; when that has a
 * verdict the stream ends behind the last byte with the event `end`, else when it gets one.
 */
void follow_start(struct follows *fs, struct request *r, const struct record *rec, uint64_t from,
		  int base64);
/* The log of a build is there, or has grown. */
void follow_wake(struct follows *fs, const char *id);
/* The verdict is recorded. */
void follow_finished(struct follows *fs, const struct record *rec);
/* kilnd stops: every stream ends, without the event `end`; clients come back by their id. */
void follow_stop(struct follows *fs);

#endif
