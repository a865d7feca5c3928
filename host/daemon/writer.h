/* SPDX-License-Identifier: Apache-2.0 */
/*
 * writer.h - the one thread that writes to the database.
 *
 * Changes queue up while a commit is on its way to the disk and go into the next one together:
 * that is the group commit. Each change is answered on the loop once it is durable.
 */
#ifndef KILN_WRITER_H
#define KILN_WRITER_H

#include <uv.h>

#include "err.h"
#include "record.h"

enum writer_kind {
	WRITER_INSERT, /* a new build; the record's seq is set */
	WRITER_UPDATE  /* all but job, which stays when NULL; a build with a verdict never changes */
};

struct writer;

/*
 * On the loop, after the commit (e == NULL) or the failure of the change. r lives until this
 * returns. Codes: "store" (nothing of the change is stored), "final" (it has its verdict).
 */
typedef void (*writer_done)(void *arg, const struct record *r, const struct err *e);

/* Opens (and creates) the database and starts the thread. */
int writer_start(uv_loop_t *loop, const char *path, struct writer **out, struct err *e);
/* Queue a change. Owns r from now on. done may be NULL. */
void writer_put(struct writer *w, enum writer_kind kind, struct record *r, writer_done done,
		void *arg);
/* Commit what is queued, end the thread, call the outstanding dones. Frees w once closed. */
void writer_stop(struct writer *w);

#endif
