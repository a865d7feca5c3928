/* SPDX-License-Identifier: Apache-2.0 */
/* record.c - memory of one build's row. Owns nothing beyond the record itself. */
#include "record.h"

#include <stdlib.h>
#include <string.h>

struct record *record_new(void)
{
	struct record *r = calloc(1, sizeof(*r));

	if (r)
		r->exit_code = -1;
	return r;
}

void record_free(struct record *r)
{
	if (!r)
		return;
	free(r->repo_url);
	free(r->branch);
	free(r->commit);
	free(r->klass);
	free(r->message);
	/* The job may hold secrets: they do not stay behind in freed memory. */
	if (r->job)
		explicit_bzero(r->job, strlen(r->job));
	free(r->job);
	free(r->result);
	free(r);
}

int record_text(char **slot, const char *text)
{
	free(*slot);
	*slot = text ? strdup(text) : NULL;
	return text && !*slot ? -1 : 0;
}
