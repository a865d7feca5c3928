/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_conduit_egress.c - egress rules and hosts of any text: line 1 allow, 2 deny, 3 private,
 * 4 the host that is asked for. No address that is not public may pass without `private`.
 */
#include <stdlib.h>
#include <string.h>

#include "egress.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void ask(const struct egress *g, const char *name, int privates)
{
	char host[EGRESS_HOST_BYTES];
	struct egress_judgement j;
	struct in6_addr a;

	if (egress_host(name, host) < 0)
		return;
	for (int mode = 0; mode < 2; mode++) {
		if (!egress_judge_name(g, host, mode ? 443 : 22, mode, &j) && !j.text[0])
			abort();
		if (!j.rule[0])
			abort();
	}
	if (egress_addr_parse(host, &a) == 0 &&
	    egress_judge_address(g, host, &a, 80, &j) && egress_addr_special(&a) && !privates)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct supjob_repo repo = { 0 };
	struct supjob_egress rules = { .mode = SUPJOB_EGRESS_ALLOW };
	struct egress *g = NULL;
	struct err e;
	char *text = malloc(size + 1), *line[4] = { NULL };
	char empty[] = "";

	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	line[0] = text;
	for (int i = 1; i < 4; i++) {
		line[i] = line[i - 1] + strcspn(line[i - 1], "\n");
		if (*line[i])
			*line[i]++ = '\0';
	}
	for (int i = 0; i < 4; i++)
		if (!line[i])
			line[i] = empty;
	rules.allow = (struct supjob_strings){ &line[0], *line[0] != 0 };
	rules.deny = (struct supjob_strings){ &line[1], *line[1] != 0 };
	rules.private_ = (struct supjob_strings){ &line[2], *line[2] != 0 };
	repo.host = *line[0] ? line[0] : NULL;
	repo.port = 443;
	if (egress_new(&g, &rules, &repo, &e) == 0)
		ask(g, line[3], *line[2] != 0);
	repo.host = NULL;
	egress_free(g);
	g = NULL;
	if (egress_new(&g, &rules, &repo, &e) == 0)
		ask(g, line[3], *line[2] != 0);
	egress_free(g);
	free(text);
	return 0;
}
