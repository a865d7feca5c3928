/* SPDX-License-Identifier: Apache-2.0 */
/*
 * events.c - encodes and appends events. Owns the sequence number, the cap and the line
 * buffer; the descriptor is the caller's. Must not be handed strings that are not UTF-8.
 */
#include "events.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "fileio.h"

void events_init(struct events *ev, int fd, uint64_t cap)
{
	memset(ev, 0, sizeof(*ev));
	ev->fd = fd;
	ev->cap = cap;
}

json_t *events_text(const uint8_t *p, size_t n)
{
	json_t *v = json_stringn(p ? (const char *)p : "", n);

	/* A text that was cut may end inside a character, which has at most four bytes. */
	for (int i = 0; !v && i < 3 && n > 0; i++)
		v = json_stringn((const char *)p, --n);
	return v ? v : json_string("?");
}

static int write_line(struct events *ev, const char *type, json_t *members, struct err *e)
{
	json_t *o = json_pack("{s:I, s:I, s:s}", "seq", (json_int_t)(ev->seq + 1), "at_ms",
			      (json_int_t)clock_wall_ms(), "type", type);
	size_t n = 0;

	if (o && json_object_update_missing(o, members) == 0)
		n = json_dumpb(o, ev->line, sizeof(ev->line) - 1, JSON_COMPACT);
	json_decref(o);
	if (n == 0 || n > sizeof(ev->line) - 1)
		return err_set(e, "internal", "cannot encode an event of type %s", type);
	ev->line[n++] = '\n';
	ev->seq++;
	if (fileio_write_full(ev->fd, ev->line, n, e) < 0)
		return err_prefix(e, "events.jsonl");
	return 0;
}

int events_put(struct events *ev, enum events_weight weight, const char *type, json_t *members,
	       struct err *e)
{
	int rc;

	if (!members)
		return err_set(e, "internal", "no memory for an event of type %s", type);
	if (weight == EVENTS_CAPPED && ev->cap && ev->capped >= ev->cap) {
		ev->dropped++;
		json_decref(members);
		return 0;
	}
	if (weight == EVENTS_CAPPED)
		ev->capped++;
	rc = write_line(ev, type, members, e);
	json_decref(members);
	return rc;
}

int events_put_text(struct events *ev, const char *text, struct err *e)
{
	json_t *o = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	const char *type = json_string_value(json_object_get(o, "type"));

	if (!type) {
		json_decref(o);
		return err_set(e, "internal", "an event of control is not an object with a type");
	}
	return events_put(ev, EVENTS_KEEP, type, o, e);
}

int events_finish(struct events *ev, struct err *e)
{
	if (ev->dropped) {
		char text[24];

		snprintf(text, sizeof(text), "%" PRIu64, ev->dropped);
		ev->dropped = 0;
		if (events_put(ev, EVENTS_KEEP, "note",
			       json_pack("{s:s, s:s}", "key", "events_dropped", "value", text), e) < 0)
			return -1;
	}
	if (fdatasync(ev->fd) < 0 && errno != EINVAL)
		return err_errno(e, "io", "cannot sync events.jsonl");
	return 0;
}
